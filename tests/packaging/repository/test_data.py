"""What has nothing to do with a voice."""

import pytest


@pytest.mark.pipeline("load")
def test_own_marker(request):
    assert request.node.get_closest_marker("pipeline").args == ("load",)
    # The plugin gives its own tests a time limit, and nobody else's.
    assert request.node.get_closest_marker("timeout") is None


@pytest.mark.asyncio
async def test_own_coroutine():
    import asyncio

    await asyncio.sleep(0)
    assert asyncio.get_running_loop().is_running()
