"""The embedded AWS: ministack, joined by moto for SageMaker and Application Auto Scaling, on loopback.

server.py is the process, control.py starts and stops it, bridge.py joins the two emulators. Each service has a folder
or a module. It imports nothing else of Kennel: what it needs of the app is in the files that Tables names.
"""
