"""Capture a teacher's likeliest tokens once, for students that are trained without it."""
