"""The embedded AWS: ministack, joined by moto for SageMaker and Application Auto Scaling, on loopback.

server.py is the process, control.py starts and stops it, bridge.py joins the two emulators, resources.py is the table
of CloudFormation types, jobs.py and fleets.py run the real training script and the real model server, endpoints.py
rolls out, alarms.py and scaling.py work on what endpoints publish.
Nothing outside this package, demo.py and the tests knows that it exists.
"""
