"""Runs moto with a fix for one bug: moto checks signatures over the decoded path and query, so it
rejects the signature of every listing with a "/" in its prefix.
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
