/** Takes in a document from stdin at one moment, and prints it as it leaves the store at another. */

import "fake-indexeddb/auto";
import { text } from "node:stream/consumers";

import { IndexedDBStore } from "../../web/indexeddb.mjs";
import { exportRun, read } from "../../web/moving.mjs";

const [arrived, left] = process.argv.slice(2).map(Number);
const store = new IndexedDBStore("there");
await store.open();
const run = await store.import_run(read(await text(process.stdin)), arrived);
process.stdout.write(await exportRun(store, run.id, left));
await store.close();
