"""A third, independent gRPC client: Debian's python3-grpcio (C core) calls the streams.

Usage: python_client.py GENERATED NODE_A NODE_B; prints one JSON document.
"""
import hashlib
import json
import sys
import time

sys.path.insert(0, sys.argv[1])
import grpc  # noqa: E402
from scoutsync.v1 import sync_node_pb2 as pb  # noqa: E402
from scoutsync.v1 import sync_node_pb2_grpc as rpc  # noqa: E402

# Nothing that comes at all is late: how long it takes is the machine's affair.
PATIENCE_S = 150
a = rpc.SyncNodeStub(grpc.insecure_channel(sys.argv[2]))
b = rpc.SyncNodeStub(grpc.insecure_channel(sys.argv[3]))
result = {}

ping = a.Ping(pb.PingRequest(), timeout=PATIENCE_S)
result["name"] = ping.name
result["vector"] = ping.databases[0].vector

# server stream, for people
readable = [change for answer in a.GetChanges(pb.GetChangesRequest(database="app", readable=True), timeout=PATIENCE_S) for change in answer.changes]
result["readable"] = len(readable)
result["bodies"] = sorted(column.value.text for change in readable for column in change.columns if column.name == "body")[:2]

# server stream, packed: what arrived is what was sent
request = pb.GetChangesRequest(database="app", codecs=["identity"], protocol=1, batch_size=100)
batches = [answer.batch for answer in a.GetChanges(request, timeout=PATIENCE_S)]
result["batches"] = len(batches)
result["changes"] = sum(batch.count for batch in batches)
result["sha256"] = all(hashlib.sha256(batch.payload).digest() == batch.sha256 for batch in batches if batch.count)
result["final"] = batches[-1].final

# the same batches up another node, one acknowledgement per batch
def push():
    yield pb.PushChangesRequest(open=pb.PushOpen(database="app", protocol=1, name="python", run=batches[-1].run))
    for batch in batches:
        yield pb.PushChangesRequest(batch=batch)


answers = list(b.PushChanges(push(), timeout=PATIENCE_S))
result["push"] = [answer.WhichOneof("kind") for answer in answers]
result["acknowledged"] = sum(answer.ack.received for answer in answers if answer.WhichOneof("kind") == "ack")
result["verified"] = answers[-1].ack.verified

# a corrupt batch is refused whole
before = b.Ping(pb.PingRequest(), timeout=PATIENCE_S).databases[0].digest
broken = pb.Batch()
broken.CopyFrom(next(batch for batch in batches if batch.count))
broken.payload = broken.payload[:-1] + bytes([broken.payload[-1] ^ 1])


def push_broken():
    yield pb.PushChangesRequest(open=pb.PushOpen(database="app", protocol=1, name="python", run=batches[-1].run))
    yield pb.PushChangesRequest(batch=broken)


try:
    list(b.PushChanges(push_broken(), timeout=PATIENCE_S))
    result["corrupt"] = "taken"
except grpc.RpcError as error:
    result["corrupt"] = error.code().name
    result["corrupt_details"] = error.details()
result["unchanged"] = b.Ping(pb.PingRequest(), timeout=PATIENCE_S).databases[0].digest == before

# another protocol version
try:
    list(a.GetChanges(pb.GetChangesRequest(database="app", protocol=99), timeout=PATIENCE_S))
    result["version"] = "taken"
except grpc.RpcError as error:
    result["version"] = error.code().name
    result["version_details"] = error.details()

# a follow stream ends when its caller cancels it, and the node goes on
stream = a.GetChanges(pb.GetChangesRequest(database="app", since=result["vector"], follow=True, protocol=1))
next(iter(stream))
started = time.time()
stream.cancel()
result["ping_after_cancel"] = a.Ping(pb.PingRequest(), timeout=PATIENCE_S).name
result["cancel_seconds"] = time.time() - started

# a deadline is honoured
try:
    for _ in a.GetChanges(pb.GetChangesRequest(database="app", since=result["vector"], follow=True, protocol=1), timeout=0.7):
        pass
    result["deadline"] = "ended"
except grpc.RpcError as error:
    result["deadline"] = error.code().name

print(json.dumps(result))
