"""What can be asked of a finished run: plain functions whose signatures are the command line."""
