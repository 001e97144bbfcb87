// What is about to be sent to another thread: small messages travel together, buffers are handed over.

/** Sends a list; the buffers belong to the receiver afterwards. */
export type Send<Item> = (items: readonly Item[], transfer: readonly ArrayBuffer[]) => void;

/** Longer lists would make the receiver wait for work that is ready. */
const itemsMax = 32;

export class Outbox<Item> {
  readonly #send: Send<Item>;
  readonly #bytesMax: number;
  #items: Item[] = [];
  #transfer: ArrayBuffer[] = [];
  #bytes = 0;

  /** A list that carries `bytesMax` or more is sent at once. */
  constructor(options: { readonly send: Send<Item>; readonly bytesMax: number }) {
    this.#send = options.send;
    this.#bytesMax = options.bytesMax;
  }

  /** Sends at once what has become too much to wait. */
  put(item: Item, buffer: ArrayBuffer | undefined): void {
    this.#items.push(item);
    if (buffer !== undefined) {
      this.#transfer.push(buffer);
      this.#bytes += buffer.byteLength;
    }
    if (this.#bytes >= this.#bytesMax || this.#items.length >= itemsMax) this.flush();
  }

  /** Takes back what has not been sent yet; its buffer is lost. */
  takeBack(wanted: (item: Item) => boolean): Item | undefined {
    const index = this.#items.findIndex(wanted);
    return index < 0 ? undefined : this.#items.splice(index, 1)[0];
  }

  /** Nobody is there any more to send to. */
  clear(): void {
    this.#items = [];
    this.#transfer = [];
    this.#bytes = 0;
  }

  flush(): void {
    if (this.#items.length === 0) return;
    const items = this.#items;
    const transfer = this.#transfer;
    this.#items = [];
    this.#transfer = [];
    this.#bytes = 0;
    this.#send(items, transfer);
  }
}
