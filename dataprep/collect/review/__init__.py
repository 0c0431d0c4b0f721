"""Report how teachers' answers agree with the references and with each other."""
