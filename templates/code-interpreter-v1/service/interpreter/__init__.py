"""The code interpreter's service: HTTP on port 49999 in front of one kernel process for each context."""
