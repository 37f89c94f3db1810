// An app with one user on real services, as its tests see it.

import type { RequestEvent, User } from "../src/app.js";
import { connect, type Docket } from "../src/docket/client.js";
import { Services } from "./harness.js";

export const ANNA: User = { id: "anna", account: "acme", mailboxId: "mb-anna" };

export class App {
  private constructor(readonly docket: Docket, private readonly services: Services) {}

  static async start(): Promise<App> {
    const services = new Services();
    services.mails("anna");
    const scheduler = await services.start("scheduler-svc");
    const worker = await services.start("worker-svc", {
      DOCKET_SCHEDULER__URL: scheduler.grpc,
      DOCKET_WORKER__ID: "w1",
      DOCKET_SOURCES__FOLDER_ROOT: services.mail,
    });
    const docket = connect({ scheduler: scheduler.grpc, library: worker.grpc });
    return new App(docket, services);
  }

  stop(): Promise<void> {
    return this.services.close();
  }

  // Calls an endpoint as SvelteKit does. Returns its status and body.
  async call(
    endpoint: (event: RequestEvent) => Promise<Response>,
    body?: unknown,
    { user = ANNA, query = "" } = {},
  ): Promise<{ status: number; body: any }> {
    const url = new URL(`http://app.test/${query}`);
    const init = body === undefined ? {} : { method: "PUT", body: JSON.stringify(body) };
    const response = await endpoint({ request: new Request(url, init), url, locals: { user, docket: this.docket } });
    return { status: response.status, body: await response.json() };
  }
}
