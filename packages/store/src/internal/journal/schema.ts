/**
 * The tables of the journal, and the statements that write them.
 *
 * Row ids are local to one journal; digests are what two journals share. Every call is identified by (input,
 * operator): the item that drives it and the operator bound to its params, seed and side inputs. For `collect`
 * that item is a set, whose digest is that of its sorted members.
 */

const first = `
CREATE TABLE items(id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, record TEXT NOT NULL) STRICT;
CREATE TABLE set_members(set_id INTEGER NOT NULL, item INTEGER NOT NULL, PRIMARY KEY(set_id, item)) STRICT, WITHOUT ROWID;
CREATE INDEX set_members_item ON set_members(item);
CREATE TABLE artifacts(sha256 BLOB NOT NULL, item INTEGER NOT NULL, PRIMARY KEY(sha256, item)) STRICT, WITHOUT ROWID;

CREATE TABLE operators(
  id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, name TEXT NOT NULL, version TEXT NOT NULL,
  params TEXT NOT NULL, seed INTEGER, source TEXT NOT NULL
) STRICT;
CREATE INDEX operators_name ON operators(name);
CREATE TABLE operator_sides(operator INTEGER NOT NULL, side TEXT NOT NULL, item INTEGER NOT NULL, PRIMARY KEY(operator, side)) STRICT, WITHOUT ROWID;
CREATE INDEX operator_sides_item ON operator_sides(item);

CREATE TABLE calls(
  id INTEGER PRIMARY KEY, input INTEGER NOT NULL, operator INTEGER NOT NULL, status INTEGER NOT NULL,
  output INTEGER, reason TEXT, detail TEXT, attempts INTEGER NOT NULL, started_ms INTEGER NOT NULL, ms REAL NOT NULL,
  run INTEGER NOT NULL, UNIQUE(input, operator)
) STRICT;
CREATE INDEX calls_operator ON calls(operator);
CREATE INDEX calls_output ON calls(output) WHERE output IS NOT NULL;
CREATE TABLE call_outputs(call INTEGER NOT NULL, position INTEGER NOT NULL, item INTEGER NOT NULL, PRIMARY KEY(call, position)) STRICT, WITHOUT ROWID;
CREATE INDEX call_outputs_item ON call_outputs(item);
CREATE TABLE output_parents(call INTEGER NOT NULL, position INTEGER NOT NULL, item INTEGER NOT NULL, PRIMARY KEY(call, position, item)) STRICT, WITHOUT ROWID;
CREATE INDEX output_parents_item ON output_parents(item);
CREATE TABLE call_drops(call INTEGER NOT NULL, item INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY(call, item)) STRICT, WITHOUT ROWID;
CREATE INDEX call_drops_item ON call_drops(item);

CREATE TABLE runs(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, graph TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL,
  definition TEXT NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER, owner TEXT NOT NULL, status TEXT NOT NULL, ledger TEXT NOT NULL, problem TEXT
) STRICT;
CREATE TABLE run_nodes(run INTEGER NOT NULL, node INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY(run, node)) STRICT, WITHOUT ROWID;
CREATE TABLE run_calls(run INTEGER NOT NULL, node INTEGER NOT NULL, call INTEGER NOT NULL, cached INTEGER NOT NULL, PRIMARY KEY(run, node, call)) STRICT, WITHOUT ROWID;
CREATE TABLE failures(run INTEGER NOT NULL, node INTEGER NOT NULL, item INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, started_ms INTEGER NOT NULL, PRIMARY KEY(run, node, item)) STRICT, WITHOUT ROWID;
CREATE TABLE run_items(run INTEGER NOT NULL, port TEXT NOT NULL, item INTEGER NOT NULL, PRIMARY KEY(run, port, item)) STRICT, WITHOUT ROWID;
`

/**
 * Where a call was made, and what journals share (see `JournalSegment`): of a run the journal that it came
 * from (NULL: this one), when it was exported, and whether nothing of it is left to export; calls whose result was
 * replaced under the same row id (`replaced`: a result, not a failure); how far this journal is exported; and the
 * segments that it has, with the row ids of the items that came with them and the number of references to rows that
 * were not there.
 */
const second = `
ALTER TABLE calls ADD COLUMN place TEXT;
ALTER TABLE runs ADD COLUMN origin TEXT;
ALTER TABLE runs ADD COLUMN exported_ms INTEGER;
ALTER TABLE runs ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;
CREATE TABLE changed_calls(seq INTEGER PRIMARY KEY AUTOINCREMENT, call INTEGER NOT NULL, replaced INTEGER NOT NULL) STRICT;
CREATE TABLE exported(journal TEXT PRIMARY KEY, items INTEGER NOT NULL, calls INTEGER NOT NULL, clock INTEGER NOT NULL, cursor TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE segments(name TEXT PRIMARY KEY, first_item INTEGER NOT NULL, last_item INTEGER NOT NULL, missing INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`

/** The events of a run, as in its report: a JSON array of sentences (see `runNotes`). */
const third = `
ALTER TABLE runs ADD COLUMN notes TEXT NOT NULL DEFAULT '[]';
`

/**
 * Which outputs a call passed on as they came, rather than made: a filter that passes its item, or a collect that passes
 * one. That an output equals an input does not decide it. How often a set has each member: its digest depends on it.
 * And by operator the calls that dropped their items.
 *
 * Of the calls that are there, the graph of their run shows which operators are filters; where it does not, an
 * output that is the input was passed on. A collect that made a record from an equal one alone, and one that passed it
 * on, left the same rows: these count as passed on. Of the sets that are there, how often they have a member is known
 * when they are next made.
 */
const fourth = `
ALTER TABLE calls ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE call_outputs ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE set_members ADD COLUMN times INTEGER NOT NULL DEFAULT 1;
CREATE INDEX calls_dropped ON calls(operator, reason) WHERE status = 1;
CREATE TEMP TABLE makers(run INTEGER NOT NULL, operator INTEGER NOT NULL, PRIMARY KEY(run, operator)) WITHOUT ROWID;
INSERT OR IGNORE INTO temp.makers
  SELECT nodes.run, operators.id
  FROM (
    SELECT runs.id AS run, CASE WHEN node.type = 'object' THEN node.value ELSE '{}' END AS node
    FROM runs, json_each(CASE WHEN json_valid(runs.definition) THEN runs.definition ELSE '{}' END, '$.nodes') AS node
  ) AS nodes
  JOIN operators ON operators.name = json_extract(nodes.node, '$.operator') AND operators.version = json_extract(nodes.node, '$.version')
  WHERE json_extract(nodes.node, '$.cardinality') <> 'filter';
UPDATE calls SET passed = 1
  WHERE output = input AND NOT EXISTS (SELECT 1 FROM temp.makers WHERE makers.run = calls.run AND makers.operator = calls.operator);
UPDATE call_outputs SET passed = 1
  WHERE EXISTS (SELECT 1 FROM output_parents AS parent WHERE parent.call = call_outputs.call AND parent.position = call_outputs.position AND parent.item = call_outputs.item)
    AND NOT EXISTS (SELECT 1 FROM output_parents AS parent WHERE parent.call = call_outputs.call AND parent.position = call_outputs.position AND parent.item <> call_outputs.item);
DROP TABLE temp.makers;
`

/** What leads from each format to the next, from an empty file on. A published one is never changed. */
export const steps: ReadonlyArray<string> = [first, second, third, fourth]

/** Raised with every change of the tables. */
export const version = steps.length
