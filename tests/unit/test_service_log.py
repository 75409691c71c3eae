from __future__ import annotations

import pytest

from fixtures.facts.host import ErrorLog, Logged
from suites.glance.test_service import _own_errors

RBD, DATA, WSGI = "glance_store._drivers.rbd", "glance.api.v2.image_data", "glance.common.wsgi"


def own(logger: str, *lines: str) -> dict[str, str]:
    return _own_errors(ErrorLog(source="x", since=0, loggers={logger: Logged(count=7, last=lines)}))


@pytest.mark.parametrize(
    ("logger", "line"),
    [
        (RBD, "Failed to store image 1 Store Exception The client disconnected: webob.request.DisconnectionError: The"),
        (RBD, "Failed to store image 1 Store Exception invalid literal: eventlet.wsgi.ChunkReadError: invalid literal"),
        (DATA, "Failed to upload image data due to HTTP error: webob.exc.HTTPBadRequest: invalid literal"),
        (DATA, "Image status transition from active to saving is not allowed: glance.common.exception.Invalid"),
        ("eventlet.wsgi.server", "chunked encoding error while discarding request body. client=10.70.1.1"),
        ("oslo.messaging._drivers.impl_rabbit", "Connection failed: [Errno 111] ECONNREFUSED"),
        ("oslo_db.sqlalchemy.engines", "Database connection was found disconnected; reconnecting"),
        ("keystonemiddleware.auth_token", "Unable to validate token"),
    ],
)
def test_what_others_caused_is_not_the_integrations_concern(logger: str, line: str) -> None:
    assert own(logger, line) == {}


@pytest.mark.parametrize(
    ("logger", "line"),
    [
        (WSGI, "Caught error: [errno 1] RBD permission error (error creating image): rbd.PermissionError"),
        (
            DATA,
            "Failed to upload image data due to internal error: rbd.PermissionError: [errno 1] RBD permission error",
        ),
        (RBD, "Error connecting to ceph cluster: rados.ObjectNotFound: [errno 2] error connecting to the cluster"),
        (RBD, "Failed to store image 1: rbd.DiskQuotaExceeded: [errno 122] Disk quota exceeded"),
        ("glance_store.multi_backend", "Failed to initialise store rbd"),
        ("oslo_messaging_of_ours", "x"),
    ],
)
def test_what_the_store_says_is_told_with_its_number(logger: str, line: str) -> None:
    assert own(logger, line) == {f"7 of {logger}": line}
    assert own(logger, line, "status transition") == {f"7 of {logger}": line}
