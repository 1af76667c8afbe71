"""Version, Status and RuntimeConfig: what this runtime is and can do on this host."""

import json
from importlib.metadata import version

from berth.linux.cgroups.naming import Driver
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.context import Context

NAME = "berth"


class Status:
    """Advertises exactly what works here."""

    def __init__(self, ctx: Context, config_text: str) -> None:
        self._ctx = ctx
        self._config_text = config_text
        self._version = version("berth")

    def version(self) -> cri.VersionResponse:
        return cri.VersionResponse(
            version="0.1.0",  # of the kubelet's runtime API; every runtime says this
            runtime_name=NAME,
            runtime_version=self._version,
            runtime_api_version="v1",
        )

    def runtime_config(self) -> cri.RuntimeConfigResponse:
        systemd = self._ctx.settings.driver is Driver.SYSTEMD
        driver = cri.SYSTEMD if systemd else cri.CGROUPFS
        return cri.RuntimeConfigResponse(linux=cri.LinuxRuntimeConfiguration(cgroup_driver=driver))

    def status(self, verbose: bool) -> cri.StatusResponse:
        """Conditions, handlers (the default also under its empty name) and features."""
        # RuntimeReady is always true: a daemon that cannot run containers does not get as far as
        # this call. NetworkReady false makes kubelet keep pods of the host's network only.
        why = self._ctx.network.ready()
        network = cri.RuntimeCondition(type="NetworkReady", status=why is None)
        if why is not None:
            network.reason, network.message = "NetworkNotReady", why
        ready = cri.RuntimeCondition(type="RuntimeReady", status=True)
        return cri.StatusResponse(
            status=cri.RuntimeStatus(conditions=[ready, network]),
            info=self._info() if verbose else None,
            runtime_handlers=self._handlers(),
            features=self._features(),
        )

    def _features(self) -> cri.RuntimeFeatures:
        handlers = self._ctx.handlers.by_name.values()
        return cri.RuntimeFeatures(
            supplemental_groups_policy=True,
            mount_options=True,
            user_namespaces_host_network=any(h.features.user_namespaces for h in handlers),
        )

    def _handlers(self) -> list[cri.RuntimeHandler]:
        handlers = self._ctx.handlers
        # kubelet looks up the features of pods without a RuntimeClass under the empty name.
        names = {"": handlers.default, **{name: name for name in handlers.by_name}}
        return [
            cri.RuntimeHandler(
                name=name,
                features=cri.RuntimeHandlerFeatures(
                    recursive_read_only_mounts=handlers.by_name[key].features.recursive_readonly,
                    user_namespaces=handlers.by_name[key].features.user_namespaces,
                ),
            )
            for name, key in names.items()
        ]

    def _info(self) -> dict[str, str]:
        ctx = self._ctx
        operations = ctx.sandbox_operations.in_flight() + ctx.container_operations.in_flight()
        return {
            "config": self._config_text,
            "events": json.dumps(
                {"subscribers": ctx.events.subscribers, "dropped": ctx.events.dropped}
            ),
            "operations": json.dumps([str(stage) for stage in operations]),
            "handlers": json.dumps(
                {name: f"{h.kind} {h.binary}" for name, h in ctx.handlers.by_name.items()}
            ),
        }
