"""Runs moto with one bug mended: it checks signatures over a path and a query that it has decoded,
so that no listing with a "/" in its prefix is ever signed rightly, whoever signs it.
"""

import sys

from flask import request
from moto.iam.access_control import IAMRequestBase
from moto.server import main

as_decoded = IAMRequestBase.__init__


def as_sent(self, *args, path, **kwargs):
    as_decoded(self, *args, path=request.environ["RAW_URI"], **kwargs)


IAMRequestBase.__init__ = as_sent
main(sys.argv[1:])
