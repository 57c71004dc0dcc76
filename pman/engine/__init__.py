"""A translation and an executor together: what the server and the command line ask for jobs."""
