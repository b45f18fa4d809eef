"""`trivet models`: list the models."""

from argparse import Namespace

from trivet.standalone.asked_gateway import open_asked_gateway


async def run(arguments: Namespace) -> int:
    """Print the id of each model."""
    async with open_asked_gateway(arguments) as client:
        for model in await client.models():
            print(model)
    return 0
