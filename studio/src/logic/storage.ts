/** Keeps the project in the browser: each sheet by its id, and the arrangement beside them. */

import type { Arrangement, Sheet, Sheets } from "./project";

const NAME = "arietta-studio";
const VERSION = 1;

function database(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, VERSION);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("sheets", { keyPath: "id" });
      opening.result.createObjectStore("arrangement");
    };
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

const done = (transaction: IDBTransaction) =>
  new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });

export class Storage {
  private saved: Sheets = new Map();
  private database = database();
  private writing: Promise<unknown> = Promise.resolve();

  async load(): Promise<{ sheets: Sheets; arrangement: Arrangement } | null> {
    const db = await this.database;
    const transaction = db.transaction(["sheets", "arrangement"]);
    const sheets = transaction.objectStore("sheets").getAll() as IDBRequest<Sheet[]>;
    const arrangement = transaction.objectStore("arrangement").get("now") as IDBRequest<
      Arrangement | undefined
    >;
    await done(transaction);
    if (!arrangement.result || !sheets.result.length) return null;
    const inOrder = sheets.result.sort((a, b) => a.made - b.made);
    this.saved = new Map(inOrder.map((sheet) => [sheet.id, sheet]));
    if (!this.saved.has(arrangement.result.current)) return null;
    return { sheets: this.saved, arrangement: arrangement.result };
  }

  /** Write what differs from what was written last, one call after the other. */
  save(sheets: Sheets, arrangement: Arrangement): Promise<void> {
    const write = this.writing.catch(() => undefined).then(() => this.write(sheets, arrangement));
    this.writing = write;
    return write;
  }

  private async write(sheets: Sheets, arrangement: Arrangement): Promise<void> {
    const db = await this.database;
    const transaction = db.transaction(["sheets", "arrangement"], "readwrite");
    const store = transaction.objectStore("sheets");
    for (const [id, sheet] of sheets) if (this.saved.get(id) !== sheet) store.put(sheet);
    for (const id of this.saved.keys()) if (!sheets.has(id)) store.delete(id);
    transaction.objectStore("arrangement").put(arrangement, "now");
    await done(transaction);
    this.saved = sheets;
  }
}
