"""A worker that gets the node plugin when its run is over keeps nothing of it."""

from __future__ import annotations

from distributed import Client, LocalCluster, protocol

from daskpar import _version
from daskpar.engine.plugins.joining import introduce, keep_for_joining
from daskpar.engine.plugins.node import NodePlugin, plugin_name
from waiting import until


def test_a_plugin_stays_as_long_as_its_run():
    with (
        LocalCluster(
            n_workers=1,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address=None,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        (worker,) = cluster.workers.values()
        plugins = {run: protocol.pickle.dumps(NodePlugin(run)) for run in ("goes-on", "over")}
        client.run_on_scheduler(keep_for_joining, name=plugin_name("goes-on"), plugin=plugins["goes-on"])
        for run, plugin in plugins.items():
            client.run(introduce, version=_version.__version__, name=plugin_name(run), plugin=plugin)
        until(lambda: plugin_name("over") not in worker.plugins, "the end of the plugin")
        assert plugin_name("goes-on") in worker.plugins
        cluster.scale(2)
        until(lambda: len(cluster.workers) == 2)
        client.wait_for_workers(2, timeout=60)
        late = next(each for each in cluster.workers.values() if each is not worker)
        until(lambda: plugin_name("goes-on") in late.plugins)
        client.unregister_worker_plugin(plugin_name("goes-on"))
        assert not any("daskpar" in name for each in (worker, late) for name in each.plugins)
