"""`pman lint`: what is wrong with templates and rules, found without an engine, each with file and line."""
