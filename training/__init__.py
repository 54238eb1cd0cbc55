"""Training: images in, a model package out. train.py and hpo.py are the programs of jobs."""
