"""python -m kennel"""

from kennel.cli import main

main()
