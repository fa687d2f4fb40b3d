"""The run of a job: start-up, steps in order, each in its folder of the run directory, resume, and what came
of it.
"""
