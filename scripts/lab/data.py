"""The data that bites, and what must be the same before a fault and after it.

data.py login | schema | roles | load ROUND | count | content       as user CQL_USER with CQL_PASSWORD, or ADMIN=1 for cassandra
"""
import decimal
import hashlib
import logging
import os
import random
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from cassandra import ConsistencyLevel, OperationTimedOut, Timeout, Unavailable
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.metadata import maybe_escape_name
from cassandra.policies import RoundRobinPolicy, WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement, tuple_factory

NODES = os.environ["NODES"].split()
SIZE = int(os.environ["SIZE"])  # nodes of the cluster, be they there or not
# Without compaction the files of a node change only when somebody writes.
STILL = "compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}"
BLOB_BYTES = 32 * 1024
MONTHS = 8_000_000  # a time to live that no test outlives

# One statement each. "{0}" is the keyspace, "{still}" switches compaction off.
SHOP = """
CREATE TYPE {0}.address (street text, number int)
CREATE TYPE {0}.person (name text, home frozen<address>)
CREATE FUNCTION {0}.doubled (n int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java AS 'return n * 2;'
CREATE FUNCTION {0}.plus (sum bigint, n int) CALLED ON NULL INPUT RETURNS bigint LANGUAGE java AS 'return n == null ? sum : sum + n;'
CREATE AGGREGATE {0}.total (int) SFUNC plus STYPE bigint INITCOND 0
CREATE TABLE {0}.users (id int PRIMARY KEY, name text, city text, age int, home frozen<address>, contact person, phones map<text, text>, tags set<text>, scores list<int>) WITH {still}
CREATE INDEX users_city ON {0}.users (city)
CREATE INDEX users_age ON {0}.users (age) USING 'sai'
CREATE MATERIALIZED VIEW {0}.users_by_city AS SELECT * FROM {0}.users WHERE city IS NOT NULL AND id IS NOT NULL PRIMARY KEY (city, id) WITH {still}
CREATE TABLE {0}.empty (id int PRIMARY KEY, v text) WITH {still}
CREATE TABLE {0}.hits (page text, day int, n counter, PRIMARY KEY (page, day)) WITH {still}
CREATE TABLE {0}.rooms (room int, at int, floor int static, temperature double, price decimal, PRIMARY KEY (room, at)) WITH CLUSTERING ORDER BY (at DESC) AND {still}
CREATE TABLE {0}.sessions (id uuid PRIMARY KEY, who int, seen timestamp) WITH default_time_to_live = {ttl} AND {still}
CREATE TABLE {0}.graves (part int, pos int, a text, b text, PRIMARY KEY (part, pos)) WITH {still}
CREATE TABLE {0}."CamelT" ("Key" int PRIMARY KEY, "a b" text, "select" int) WITH {still}
CREATE INDEX "CamelT_Idx" ON {0}."CamelT" ("a b")
CREATE TABLE {0}."table" (key text PRIMARY KEY, "from" text, "quo""ted" blob) WITH {still}
CREATE TABLE {0}.key (key int PRIMARY KEY, value text) WITH {still}
CREATE TABLE {0}.plain (id int PRIMARY KEY, v text) WITH compression = {{'enabled': 'false'}} AND {still}
CREATE TABLE {0}.phoenix (id int PRIMARY KEY, old text) WITH {still}
INSERT INTO {0}.phoenix (id, old) VALUES (1, 'of the first life')
DROP TABLE {0}.phoenix
CREATE TABLE {0}.phoenix (id int PRIMARY KEY, fresh text) WITH {still}
CREATE TABLE {0}.altered (id int PRIMARY KEY, kept int, again text, gone int) WITH {still}
INSERT INTO {0}.altered (id, kept, again, gone) VALUES (-1, 1, 'before the drop', 1)
ALTER TABLE {0}.altered DROP again
ALTER TABLE {0}.altered DROP gone
ALTER TABLE {0}.altered ADD again text
CREATE TABLE {0}.blobs (id int PRIMARY KEY, v blob) WITH {still}
"""
LOGS = """
CREATE TABLE {0}.lines (host text, at int, line text, level text, PRIMARY KEY (host, at)) WITH {still}
CREATE INDEX lines_level ON {0}.lines (level)
CREATE TABLE {0}.blobs (id int PRIMARY KEY, v blob) WITH {still}
"""
SOLO = """
CREATE TABLE {0}.notes (id int PRIMARY KEY, v text) WITH {still}
"""
MIXED = """
CREATE TYPE {0}."Point" (x int, "Y" int)
CREATE TABLE {0}."Upper" (id int PRIMARY KEY, p frozen<"Point">, "Text" text) WITH {still}
CREATE TABLE {0}.lower (id int PRIMARY KEY, v text) WITH {still}
"""
KEYSPACES = [("shop", 3, SHOP), ("logs", 2, LOGS), ("solo", 1, SOLO), ('"MixedKs"', 3, MIXED)]
CLUSTERS = []
CITIES = ["Paris", "Roma", "Łódź", "São Paulo"]

# Asked by `count` as they are, where the table exists: each is one row with one number.
QUESTIONS = [
    ("shop", "users", "SELECT count(*) FROM shop.users WHERE city = 'Paris'"),
    ("shop", "users", "SELECT count(*) FROM shop.users WHERE age > 40"),
    ("shop", "users", "SELECT count(*) FROM shop.users WHERE city = 'Roma' AND age > 40 ALLOW FILTERING"),
    ("shop", "users", "SELECT shop.total(age) FROM shop.users"),
    ("shop", "users", "SELECT sum(shop.doubled(age)) FROM shop.users"),
    ("shop", "users_by_city", "SELECT count(*) FROM shop.users_by_city WHERE city = 'Łódź'"),
    ("shop", "hits", "SELECT sum(n) FROM shop.hits"),
    ("shop", "CamelT", "SELECT count(*) FROM shop.\"CamelT\" WHERE \"a b\" = 'x 1'"),
    ("logs", "lines", "SELECT count(*) FROM logs.lines WHERE level = 'warn'"),
]


def connect(nodes=NODES, user="cassandra" if os.environ.get("ADMIN") else os.environ["CQL_USER"]):
    """A session that asks and writes with all replicas, and is patient, as the machine is shared."""
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    password = user if user == "cassandra" else os.environ["CQL_PASSWORD"]
    policy = WhiteListRoundRobinPolicy(nodes) if len(nodes) == 1 else RoundRobinPolicy()
    profile = ExecutionProfile(
        load_balancing_policy=policy, consistency_level=ConsistencyLevel.ALL, request_timeout=120, row_factory=tuple_factory)
    login = PlainTextAuthProvider(user, password)

    def session():
        # Each try needs an object of its own: after a failure the driver takes it for shut down.
        cluster = Cluster(
            nodes, auth_provider=login, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, connect_timeout=20,
            control_connection_timeout=20, idle_heartbeat_interval=0, max_schema_agreement_wait=60,
            protocol_version=5)
        # Left to the interpreter's end, the driver's threads complain.
        CLUSTERS.append(cluster)
        return cluster.connect()

    return persistent(session)


def persistent(call, seconds=90):
    """Calls until it works: after a start, nodes think for a while that others are down."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (NoHostAvailable, Unavailable, Timeout, OperationTimedOut) as err:
            if time.monotonic() > deadline:
                sys.exit(f"data: {err}")
            time.sleep(0.3)


def schema(session):
    """Keyspaces and all in them; a second time changes nothing. The cluster may have fewer nodes than replicas yet."""
    if "shop" in session.cluster.metadata.keyspaces:
        return
    session.get_execution_profile(EXEC_PROFILE_DEFAULT).consistency_level = ConsistencyLevel.ONE
    for keyspace, replicas, statements in KEYSPACES:
        session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {replication(replicas)}")
        for statement in statements.strip().split("\n"):
            session.execute(statement.format(keyspace, still=STILL, ttl=MONTHS))


def roles(session):
    """Users, known to every node, so that any of them can be away."""
    quoted = os.environ["CQL_PASSWORD"].replace("'", "''")
    session.execute(f"ALTER KEYSPACE system_auth WITH replication = {replication(3)}")
    session.execute(f"CREATE ROLE IF NOT EXISTS \"{os.environ['CQL_USER']}\" WITH PASSWORD = '{quoted}' AND SUPERUSER = true AND LOGIN = true")
    # Written anew, as what was there before the change is on one node only; and by another, as nobody may alter himself.
    other = connect(user=os.environ["CQL_USER"])
    other.execute("ALTER ROLE cassandra WITH PASSWORD = 'cassandra' AND SUPERUSER = true AND LOGIN = true")
    other.execute("CREATE ROLE IF NOT EXISTS \"App-Role\" WITH PASSWORD = 'app' AND LOGIN = true")
    other.execute('GRANT SELECT ON KEYSPACE shop TO "App-Role"')


def replication(replicas):
    return f"{{'class': 'NetworkTopologyStrategy', 'dc1': {min(replicas, SIZE)}}}"


def load(session, part):
    """A share of the rows; each round is flushed into files of its own, and deletes some of the round before."""
    rows = range(part * 250, part * 250 + 250)
    dice = random.Random(part)

    def write(statement, values):
        values = list(values)
        prepared = session.prepare(statement)
        # A node that is busy refuses some; those are asked again, until all are in.
        deadline = time.monotonic() + 300
        while values:
            results = execute_concurrent_with_args(
                session, prepared, values, concurrency=8 if "blob" in statement else 32, raise_on_first_error=False)
            values = [each for each, (done, _) in zip(values, results) if not done]
            if values and time.monotonic() > deadline:
                sys.exit(f"data: {len(values)} rows are not taken: {statement}")

    insert_users(session, write, rows, dice)
    write("UPDATE shop.hits SET n = n + ? WHERE page = ? AND day = ?", ((i % 7, f"/p{i % 50}", i % 3) for i in rows))
    write("INSERT INTO shop.rooms (room, at, floor, temperature, price) VALUES (?, ?, ?, ?, ?)",
          ((i % 20, i, i % 20 // 5, i / 3, decimal.Decimal(i) / 8) for i in rows))
    write("INSERT INTO shop.sessions (id, who, seen) VALUES (?, ?, ?)",
          ((uuid.UUID(int=i), i, 1_700_000_000_000 + i) for i in rows))
    write("INSERT INTO shop.graves (part, pos, a, b) VALUES (?, ?, ?, ?) USING TTL 1", ((i % 10, -i, "short", "lived") for i in rows[:20]))
    write("INSERT INTO shop.graves (part, pos, a, b) VALUES (?, ?, ?, ?)", ((i % 10, i, f"a{i}", f"b{i}") for i in rows))
    if part:
        old = [i - 250 for i in rows]
        write("DELETE FROM shop.graves WHERE part = ? AND pos = ?", ((i % 10, i) for i in old[:40]))
        write("DELETE b FROM shop.graves WHERE part = ? AND pos = ?", ((i % 10, i) for i in old[40:80]))
        write("DELETE FROM shop.graves WHERE part = ? AND pos >= ? AND pos < ?", ((i % 10, i, i + 10) for i in old[80:120:10]))
        write("DELETE FROM shop.graves WHERE part = ?", [(9,)])
    write('INSERT INTO shop."CamelT" ("Key", "a b", "select") VALUES (?, ?, ?)', ((i, f"x {i % 5}", -i) for i in rows))
    write('INSERT INTO shop."table" (key, "from", "quo""ted") VALUES (?, ?, ?)', ((f"k'{i}", "it's; \"so\"\n", bytes([i % 256])) for i in rows))
    write("INSERT INTO shop.key (key, value) VALUES (?, ?)", ((i, f"v{i}") for i in rows))
    write("INSERT INTO shop.plain (id, v) VALUES (?, ?)", ((i, "plain " * 20) for i in rows))
    write("INSERT INTO shop.phoenix (id, fresh) VALUES (?, ?)", ((i, f"second life {i}") for i in rows))
    write("INSERT INTO shop.altered (id, kept, again) VALUES (?, ?, ?)", ((i, i, f"after {i}") for i in rows))
    write("INSERT INTO logs.lines (host, at, line, level) VALUES (?, ?, ?, ?)",
          ((f"h{i % 9}", i, f"line {i}", "warn" if i % 10 == 0 else "info") for i in rows))
    write("INSERT INTO solo.notes (id, v) VALUES (?, ?)", ((i, f"note {i}") for i in rows))
    points = list(rows)
    write('INSERT INTO "MixedKs"."Upper" (id, p, "Text") VALUES (?, ?, ?)', ((i, (i, -i), "T" * (i % 9)) for i in points))
    write('INSERT INTO "MixedKs".lower (id, v) VALUES (?, ?)', ((i, f"low {i}") for i in points))
    # Random, so that compression does not take the size away.
    write("INSERT INTO shop.blobs (id, v) VALUES (?, ?)", ((i, dice.randbytes(BLOB_BYTES)) for i in range(part * 1280, part * 1280 + 1280)))
    write("INSERT INTO logs.blobs (id, v) VALUES (?, ?)", ((i, dice.randbytes(BLOB_BYTES)) for i in range(part * 512, part * 512 + 512)))


def insert_users(session, write, rows, dice):
    def user(i):
        home = (f"street {i % 17}", i)
        return (i, f"name {i}", CITIES[i % 4], dice.randrange(18, 90), home, (f"contact {i}", home),
                {"home": str(i), "work": str(-i)}, {f"t{i % 3}", f"t{i % 5}"}, [i, i + 1])

    write("INSERT INTO shop.users (id, name, city, age, home, contact, phones, tags, scores) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
          (user(i) for i in rows))


def tables(session):
    """Every table and view of a user's keyspace, as (keyspace, name, escaped path)."""
    for keyspace in sorted(session.cluster.metadata.keyspaces.values(), key=lambda each: each.name):
        if keyspace.virtual or keyspace.name == "system" or keyspace.name.startswith("system_"):
            continue
        for name in sorted([*keyspace.tables, *keyspace.views]):
            yield keyspace.name, name, f"{maybe_escape_name(keyspace.name)}.{maybe_escape_name(name)}"


def one(session, query):
    # A page is held in the node's small memory as a whole, and a row of blobs is 32 KiB.
    return persistent(lambda: session.execute(SimpleStatement(query, fetch_size=400 if "blob" in query else 1000)).one()[0])


def count(session):
    questions, existing = {}, set()
    for keyspace, name, path in tables(session):
        existing.add((keyspace, name))
        questions[path] = f"SELECT count(*) FROM {path}"
    for keyspace, name, query in QUESTIONS:
        if (keyspace, name) in existing:
            questions[f"{query} ->"] = query
    for line in sorted(side_by_side(lambda words, query: f"{words} {one(session, query)}", questions.items())):
        print(line)


def content(session):
    def line(path):
        def rows():
            found = session.execute(SimpleStatement(f"SELECT * FROM {path}", fetch_size=100))
            return sorted(hashlib.sha256(repr(plain(row)).encode()).digest() for row in found)
        return f"{path} {hashlib.sha256(b''.join(persistent(rows))).hexdigest()[:32]}"

    for each in sorted(side_by_side(line, ((path,) for _, _, path in tables(session)))):
        print(each)


def side_by_side(call, arguments):
    """What the calls return, in order. A few at once, as each waits for one node after the other."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield from pool.map(lambda each: call(*each), list(arguments))


def plain(value):
    """The value without the driver's own types, whose repr says more than the value."""
    if isinstance(value, tuple):
        return tuple(plain(each) for each in value)
    if hasattr(value, "items"):
        return sorted((plain(k), plain(v)) for k, v in value.items())
    if hasattr(value, "isdisjoint"):
        return sorted(plain(each) for each in value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def main():
    verb, *rest = sys.argv[1:]
    if verb == "login":
        # At each node by itself: another's answer says nothing about it.
        list(side_by_side(lambda node: connect([node]).execute("SELECT key FROM system.local"), zip(NODES)))
        return
    session = connect()
    verbs = {"schema": schema, "roles": roles, "count": count, "content": content}
    if verb == "load":
        load(session, int(rest[0]))
    else:
        verbs[verb](session)


try:
    main()
finally:
    sys.stdout.flush()
    for cluster in CLUSTERS:
        cluster.shutdown()
