"""The part of curl that the documents use, for machines without it: a GET, or a POST with headers, its answer on standard output."""

import argparse
import sys
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("-H", dest="headers", action="append", default=[])
parser.add_argument("-d", dest="data")
parser.add_argument("--no-buffer", action="store_true")
parser.add_argument("--silent", action="store_true")
arguments = parser.parse_args()

headers = dict(header.split(": ", 1) for header in arguments.headers)
body = None if arguments.data is None else arguments.data.encode()
request = urllib.request.Request(arguments.url, body, headers)
with urllib.request.urlopen(request, timeout=60) as response:
    for line in response:
        sys.stdout.write(line.decode())
