// What SvelteKit hands to an endpoint, as far as these endpoints use it. In an app, import RequestEvent from
// "@sveltejs/kit" instead, and set `locals` in hooks.server.ts.

import type { Docket } from "./docket/client.js";

// From the session, never from the request: it decides whose schedule a call may touch.
export type User = { id: string; account: string; mailboxId: string };

export type RequestEvent = { request: Request; url: URL; locals: { user: User; docket: Docket } };

// Request ids are of the whole namespace, and pages make them: so one user's never meet another's.
export function requestId(user: User, id: string): string {
  return `${user.mailboxId}:${id}`;
}

export function json(body: unknown, status = 200): Response {
  return Response.json(body, { status });
}
