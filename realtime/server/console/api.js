// Requests to the server, with the token where there is one. It is kept for this tab, and sent nowhere else.

const KEY = "duet-token";
export const token = () => sessionStorage.getItem(KEY) || "";
export const keep = secret => secret ? sessionStorage.setItem(KEY, secret) : sessionStorage.removeItem(KEY);

export class ApiError extends Error {
  constructor(status, body) {
    super(body.error?.message || `the server answered ${status}`);
    Object.assign(this, { status, code: body.error?.code || "error", remedy: body.error?.details?.remedy || "", requestId: body.request_id || "" });
  }
}

export async function send(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const reply = await fetch(path, { ...options, headers, credentials: "omit" });
  const text = await reply.text();
  if (reply.ok) return { reply, text };
  let body = {};
  try { body = JSON.parse(text); } catch { /* something before the server answered */ }
  throw new ApiError(reply.status, body);
}

export const get = async path => JSON.parse((await send(path)).text);

// Numbers as they were sent: a double would round 64-bit integers and drop a decimal's zeros.
export class Exact { constructor(text) { this.text = text; } toString() { return this.text; } }
export const exactly = text => JSON.parse(text, (_, value, context) =>
  typeof value === "number" && context && String(value) !== context.source ? new Exact(context.source) : value);

export const lambdaPath = (name, at) => `/v1/lambdas/${encodeURIComponent(name)}${at ? `/${at.split("/").map(encodeURIComponent).join("/")}` : ""}`;
