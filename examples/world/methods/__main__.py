import sys

from examples.world.methods.compare import main

sys.exit(main())
