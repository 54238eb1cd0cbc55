"""The operator's command line: data, train, promote, predict, local. `python -m kennel --help`"""
