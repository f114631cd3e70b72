"""What is measured: one module a subject, each run as a process of its own."""
