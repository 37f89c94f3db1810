// Real services for tests, on free loopback ports and a folder of their own, and a proxy whose connections can be cut.

import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, mkdirSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { once } from "node:events";
import { connect as dial, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const BINARIES = resolve(ROOT, process.env["DOCKET_BIN"] ?? "target/debug");

export class Service {
  readonly grpc: string;
  readonly port: number;

  private constructor(private readonly child: ChildProcess, grpc: string) {
    this.grpc = `http://${grpc}`;
    this.port = Number(grpc.split(":").at(-1));
  }

  static async start(name: string, folder: string, settings: Record<string, string> = {}): Promise<Service> {
    mkdirSync(folder, { recursive: true });
    const own = Object.entries(process.env).filter(([key]) => !key.startsWith("DOCKET_"));
    const ports = { DOCKET_GRPC__LISTEN: "127.0.0.1:0", DOCKET_HTTP__LISTEN: "127.0.0.1:0" };
    const env = { ...Object.fromEntries(own), ...ports, ...settings };
    const child = spawn(join(BINARIES, name), { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    const log: string[] = [];
    child.stderr.on("data", (text) => log.push(String(text)));
    return new Promise((done, failed) => {
      child.on("error", failed);
      child.on("exit", (code) => failed(new Error(`${name} ended with ${code}:\n${log.join("")}`)));
      createInterface(child.stdout).on("line", (line) => {
        log.push(`${line}\n`);
        const grpc = line.includes("serving") && /grpc=(\S+)/.exec(line)?.[1];
        if (grpc) done(new Service(child, grpc));
      });
    });
  }

  // kill -9, and waits until it is gone.
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await gone;
  }
}

// Services on one folder, which ends with the test.
export class Services {
  private readonly path = mkdtempSync(join(tmpdir(), "docket-"));
  private readonly started: Service[] = [];

  // On the data that one of this name left, if there was one.
  async start(name: string, settings: Record<string, string> = {}): Promise<Service> {
    const service = await Service.start(name, join(this.path, name), settings);
    this.started.push(service);
    return service;
  }

  get mail(): string {
    return join(this.path, "mail");
  }

  // The sample mails of `name`, as a mail folder of that name.
  mails(name: string): void {
    const to = join(this.mail, name);
    cpSync(join(ROOT, "tests/fixtures/mails", name), to, { recursive: true });
    // A file that is younger than two seconds may still be written to, and is left for the next sync.
    const hourAgo = Date.now() / 1000 - 3600;
    for (const file of readdirSync(to)) utimesSync(join(to, file), hourAgo, hourAgo);
  }

  async close(): Promise<void> {
    for (const service of this.started) await service.kill();
    rmSync(this.path, { recursive: true, force: true });
  }
}

export class Proxy {
  // How many connections it will break off at once.
  refuse = 0;
  private readonly open = new Set<Socket>();

  private constructor(private readonly server: Server, public target: number) {}

  static async to(target: number): Promise<Proxy> {
    const server = createServer();
    const proxy = new Proxy(server, target);
    server.on("connection", (socket) => proxy.carry(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  cut(): void {
    for (const socket of this.open) socket.destroy();
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  private carry(socket: Socket): void {
    if (this.refuse > 0) {
      this.refuse--;
      socket.destroy();
      return;
    }
    const other = dial(this.target, "127.0.0.1");
    for (const [end, peer] of [[socket, other], [other, socket]] as const) {
      this.open.add(end);
      end.on("error", () => undefined);
      end.on("close", () => {
        this.open.delete(end);
        peer.destroy();
      });
      end.pipe(peer);
    }
  }
}
