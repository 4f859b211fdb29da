/** Power, disk and type of a server: what turns it on and off, wipes it, makes it bigger, or boots it into the rescue system. */
import { refuseLocked } from './actions.ts'
import { Refusal } from './answers.ts'
import { findType } from './catalogue.ts'
import { type Call, type Cloud, patch } from './cloud.ts'
import { namedImage, refuseBigImage } from './images.ts'
import type { Effect, ServerRow } from './rows.ts'
import { namedKeys, newPassword, readUserData, refuseOutOfStock } from './server-create.ts'
import { theServer } from './servers.ts'
import { freeServer, refuseRunning, type Telling, tell } from './telling.ts'

const power = (server: ServerRow, to: 'running' | 'off'): Effect => ({ kind: 'server_status', server: server.id, to })

export const powerOn = (call: Call) => {
  const server = freeServer(call)
  if (server.ipv4 === null && server.ipv6 === null && server.privateNets.length === 0)
    throw new Refusal(422, 'unsupported_error', 'server has no network interface')
  const on = server.status === 'running'
  // Powering on what is on changes nothing, above all not since when it runs.
  const telling: Telling = on
    ? { command: 'start_server', effect: { kind: 'nothing' } }
    : { command: 'start_server', effect: power(server, 'running'), otherwise: power(server, 'off'), meanwhile: 'starting' }
  return tell(call, server, telling)
}

export const powerOff = (call: Call) => {
  const server = freeServer(call)
  const telling: Telling = { command: 'stop_server', effect: power(server, 'off') }
  if (server.status === 'off') return tell(call, server, telling)
  return tell(call, server, { ...telling, otherwise: power(server, 'running'), meanwhile: 'stopping' })
}

export const shutdown = (call: Call) => {
  const server = freeServer(call)
  return tell(call, server, { command: 'shutdown_server', effect: { kind: 'server_signalled', server: server.id } })
}

export const restart = (command: 'reboot_server' | 'reset_server') => (call: Call) => {
  const server = freeServer(call)
  return tell(call, server, { command, effect: power(server, 'running') })
}

export const rebuild = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  const text = body.idOrName('image')
  const userData = readUserData(body) ?? null
  if (text === undefined && !body.has('image')) body.problem('image', 'missing data for required field')
  body.check()
  if (server.protection.rebuild) throw new Refusal(423, 'protected', 'server rebuild is protected')
  refuseLocked(call.cloud, 'server', server.id)
  const image = namedImage(call, text ?? '', findType(server.type)?.architecture ?? 'x86')
  refuseBigImage(image, server.diskGb)
  const password = server.publicKeys.length === 0 ? newPassword() : null
  return tell(
    call,
    server,
    {
      command: 'rebuild_server',
      effect: { kind: 'server_rebuilt', server: server.id, image: image.id, userData },
      otherwise: power(server, 'off'),
      meanwhile: 'rebuilding',
    },
    { root_password: password },
  )
}

export const changeType = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  const text = body.idOrName('server_type')
  const upgradeDisk = body.flag('upgrade_disk') ?? false
  for (const field of ['server_type', 'upgrade_disk'])
    if (!body.has(field)) body.problem(field, 'missing data for required field')
  body.check()
  refuseLocked(call.cloud, 'server', server.id)
  refuseRunning(server)
  const type = findType(text ?? '')
  const fits =
    type &&
    type.name !== server.type &&
    type.architecture === findType(server.type)?.architecture &&
    type.diskGb >= server.diskGb &&
    type.locations.includes(server.location)
  if (!fits) throw new Refusal(422, 'invalid_server_type', 'server type does not fit for the given server')
  refuseOutOfStock(call.cloud, type, server.location)
  return tell(call, server, {
    command: 'change_server_type',
    effect: { kind: 'server_retyped', server: server.id, type: type.name, upgradeDisk },
    otherwise: power(server, 'off'),
    meanwhile: 'migrating',
  })
}

export const enableRescue = (call: Call) => {
  const server = theServer(call)
  const body = call.body()
  body.word('type', ['linux64'])
  const keys = body.ids('ssh_keys')
  body.check()
  refuseLocked(call.cloud, 'server', server.id)
  if (server.rescueEnabled) throw new Refusal(422, 'unsupported_error', 'rescue system is already enabled')
  const publicKeys = namedKeys(call, keys).map(key => key.publicKey)
  const effect = { kind: 'server_rescue', server: server.id, enabled: true, keys: publicKeys } as const
  return tell(call, server, { command: 'enable_rescue', effect }, { root_password: newPassword() })
}

export const disableRescue = (call: Call) => {
  const server = freeServer(call)
  if (!server.rescueEnabled) throw new Refusal(422, 'unsupported_error', 'rescue system is not enabled')
  const effect = { kind: 'server_rescue', server: server.id, enabled: false, keys: [] } as const
  return tell(call, server, { command: 'disable_rescue', effect })
}

/** The server runs a new image on a wiped disk, with the user data given, else with what it had. */
export const finishRebuild = (cloud: Cloud, id: number, image: number, userData: string | null, atMs: number): void =>
  patch(cloud.servers, id, {
    status: 'running',
    imageId: image,
    runningSinceMs: atMs,
    rebuiltAtMs: atMs,
    rescueEnabled: false,
    inRescue: false,
    ...(userData === null ? {} : { userData }),
  })

/** The server runs as another type; its disk has grown only when that was asked for. */
export const finishRetype = (cloud: Cloud, id: number, typeName: string, upgradeDisk: boolean, atMs: number): void =>
  patch(cloud.servers, id, {
    status: 'running',
    type: typeName,
    runningSinceMs: atMs,
    ...(upgradeDisk ? { diskGb: findType(typeName)?.diskGb ?? 0 } : {}),
  })
