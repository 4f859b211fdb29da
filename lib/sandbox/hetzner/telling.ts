/** Telling a server to do something: what every action on a server has in common. */
import { beginAction, refuseLocked, renderAction } from './actions.ts'
import { Refusal } from './answers.ts'
import { type Call, patch } from './cloud.ts'
import type { Effect, Resource, ServerRow, ServerStatus } from './rows.ts'
import { theServer } from './servers.ts'

export interface Telling {
  readonly command: string
  readonly effect: Effect
  /** What holds when the action fails; when absent nothing changes. */
  readonly otherwise?: Effect
  /** The status while the action runs. */
  readonly meanwhile?: ServerStatus
  readonly resources?: readonly Resource[]
}

/** Begins an action on a server and answers with it, and with `more` beside it. */
export const tell = (call: Call, server: ServerRow, telling: Telling, more: Readonly<Record<string, unknown>> = {}) => {
  const { command, effect, otherwise, meanwhile, resources = [] } = telling
  if (meanwhile) patch(call.cloud.servers, server.id, { status: meanwhile })
  const action = beginAction(call.cloud, call.nowMs, {
    project: call.project,
    command,
    resources: [{ type: 'server', id: server.id }, ...resources],
    effect,
    ...(otherwise ? { otherwise } : {}),
  })
  return { status: 201, json: { ...more, action: renderAction(action, call.nowMs) } }
}

/** The server of the path, when nothing holds it. */
export const freeServer = (call: Call): ServerRow => {
  const server = theServer(call)
  refuseLocked(call.cloud, 'server', server.id)
  return server
}

/** Throws 422 `server_not_stopped` unless the server is off. */
export const refuseRunning = (server: ServerRow): void => {
  if (server.status !== 'off') throw new Refusal(422, 'server_not_stopped', 'server must be powered off')
}
