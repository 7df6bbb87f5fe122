// A WebSocket that does what a test says.
import type { Socket } from "../../src/live/client";

export class FakeSocket implements Socket {
  static all: FakeSocket[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  isClosedByPage = false;

  constructor() {
    FakeSocket.all.push(this);
  }

  static get newest(): FakeSocket {
    const socket = FakeSocket.all.at(-1);
    if (socket === undefined) {
      throw new Error("no socket was opened");
    }
    return socket;
  }

  open(): void {
    this.onopen?.();
  }

  send(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  end(code = 1006, reason = ""): void {
    this.onclose?.({ code, reason });
  }

  close(): void {
    this.isClosedByPage = true;
  }
}
