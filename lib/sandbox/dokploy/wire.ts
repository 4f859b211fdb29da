/**
 * How Dokploy answers, as seen on v0.30.2: REST errors generated from tRPC codes, tRPC's superjson envelopes, better-auth's plain
 * objects. The routes know none of this; they return a value or a `Refusal`.
 */

import type { StandInResponse } from '../kit.ts'

/** tRPC's codes with the HTTP status and the JSON-RPC number that Dokploy sends for them. */
const CODES = {
  BAD_REQUEST: { status: 400, rpc: -32600 },
  UNAUTHORIZED: { status: 401, rpc: -32001 },
  FORBIDDEN: { status: 403, rpc: -32003 },
  NOT_FOUND: { status: 404, rpc: -32004 },
  CONFLICT: { status: 409, rpc: -32009 },
  PRECONDITION_FAILED: { status: 412, rpc: -32012 },
  PAYLOAD_TOO_LARGE: { status: 413, rpc: -32013 },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, rpc: -32015 },
  INTERNAL_SERVER_ERROR: { status: 500, rpc: -32603 },
} satisfies Record<string, { status: number; rpc: number }>

export type RefusalCode = keyof typeof CODES

/** What a route returns instead of a value when it fails. `issues` are the faults of an input. */
export class Refusal {
  readonly code: RefusalCode
  readonly message: string
  readonly issues: readonly InputIssue[] | undefined
  constructor(code: RefusalCode, message: string, issues?: readonly InputIssue[]) {
    this.code = code
    this.message = message
    this.issues = issues
  }
}

export interface InputIssue {
  readonly code: string
  readonly path: readonly string[]
  readonly message: string
}

export const refuse = (code: RefusalCode, message: string) => new Refusal(code, message)

/** An input that the procedure's schema does not accept. */
export const refuseInput = (issues: readonly InputIssue[]) => new Refusal('BAD_REQUEST', 'Input validation failed', issues)

const zodErrorOf = (issues: readonly InputIssue[] | undefined) => {
  if (!issues) return null
  const fieldErrors: Record<string, string[]> = {}
  for (const issue of issues) {
    const field = issue.path[0] ?? ''
    fieldErrors[field] = [...(fieldErrors[field] ?? []), issue.message]
  }
  return { formErrors: [], fieldErrors }
}

/** REST: a value as its JSON; a procedure without a result answers 200 with an empty body. */
export const restAnswer = (path: string, result: unknown): StandInResponse => {
  if (!(result instanceof Refusal)) return result === undefined ? { status: 200 } : { status: 200, json: result }
  const { status } = CODES[result.code]
  return {
    status,
    json: {
      message: result.message,
      code: result.code,
      data: { code: result.code, httpStatus: status, path, zodError: zodErrorOf(result.issues) },
      ...(result.issues && { issues: result.issues }),
    },
  }
}

/** tRPC with superjson. */
export const trpcAnswer = (path: string, result: unknown): StandInResponse => {
  if (!(result instanceof Refusal)) return { status: 200, json: { result: { data: { json: result ?? null } } } }
  const { status, rpc } = CODES[result.code]
  const data = { code: result.code, httpStatus: status, path, zodError: zodErrorOf(result.issues) }
  return { status, json: { error: { json: { message: result.message, code: rpc, data } } } }
}

/** better-auth's error object. */
export const authError = (status: number, message: string, code?: string): StandInResponse => ({
  status,
  json: code === undefined ? { message } : { code, message },
})

export const redirect = (location: string): StandInResponse => ({ status: 307, headers: { location }, text: location })

export const html = (status: number, title: string): StandInResponse => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  text: `<!DOCTYPE html><html><head><title>${title}</title></head><body><div id="__next"></div></body></html>`,
})
