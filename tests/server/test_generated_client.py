"""A client that a generator makes from ``/openapi.json`` calls a server, with typed answers and errors."""

import subprocess
import sys

from engine_thread import engine_served

from perdure import App, Task, succeed
from perdure.examples.order_processor import Order, OrderEvent, decide_order

ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)

SCRIPT = """
import sys

from shop import Client
from shop.api.orders import orders_history, orders_send, orders_state, orders_status, orders_terminate
from shop.models import IllegalTransition, InvalidArgumentProblem, Order, OrderPlaced, OrdersRejectedProblem, Sent
from shop.models import InstanceStatusStatus, Terminated

client = Client(base_url=sys.argv[1])
id = "orders/2026 %"
event = OrderPlaced(type_="OrderPlaced", owner="ada", amount=4)

placed = orders_send.sync(id, client=client, body=event, idempotency_key="k")
assert isinstance(placed, Sent), placed
assert placed.created
assert placed.scheduled_at is not None
assert orders_send.sync(id, client=client, body=event, idempotency_key="k") == placed

rejected = orders_send.sync(id, client=client, body=event)
assert isinstance(rejected, OrdersRejectedProblem), rejected
assert rejected.error == IllegalTransition(status="pending", event="OrderPlaced"), rejected

refused = orders_send.sync(id, client=client, body=event, idempotency_key="k" * 513)
assert isinstance(refused, InvalidArgumentProblem), refused
assert refused.status == 422

assert orders_state.sync(id, client=client) == Order(status="pending", owner="ada", amount=4, paid=0, tracking="")
assert orders_status.sync(id, client=client).status == InstanceStatusStatus.SCHEDULED
assert [event.type_ for event in orders_history.sync(id, client=client, limit=1)] == ["task.scheduled"]
assert orders_terminate.sync(id, client=client, body="done") == Terminated("Terminated", True, "done")
assert orders_state.sync(id, client=client) is None
"""


def test_a_generated_client_gets_typed_answers_and_typed_errors(tmp_path):
    (tmp_path / "config.yaml").write_text("post_hooks: []\npackage_name_override: shop\n")
    (tmp_path / "call.py").write_text(SCRIPT)
    generate = ["openapi_python_client", "generate", "--meta", "none", "--config", "config.yaml"]
    with engine_served(App(None).with_jobs(ORDERS)) as url:
        run(tmp_path, "-m", *generate, "--output-path", "shop", "--url", f"{url}/openapi.json", "--fail-on-warning")
        run(tmp_path, "call.py", url)


def run(folder, *command):
    ran = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=60)  # noqa: PLW1510, S603
    assert ran.returncode == 0, ran.stdout + ran.stderr
