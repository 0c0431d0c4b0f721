"""Load, sample and compare models; shared by teacher, train and evaluate."""
