"""`lab evaluate`: what a model allows to be measured, what a judge sees, and the report of both."""
