/** The edge of a simulated machine: port 443 with the wildcard certificate, which leads to previews on it or on machines beside it. */

import { type Listener, listenHttp } from './listen.ts'
import type { PreviewsDisk } from './preview-programs.ts'
import type { MachineServer } from './state.ts'

export interface PreviewEdges {
  isSet(server: MachineServer): boolean
  /** undefined for a machine without one. */
  open(server: MachineServer): Promise<Listener> | undefined
}

/** Where the edge's file leads for a host name. */
const wayIn = (caddyfile: string, host: string): string | undefined => {
  const site = new RegExp(`@(pr-\\d+) host ${host.replaceAll('.', '\\.')}\\n`).exec(caddyfile)?.[1]
  return site === undefined ? undefined : new RegExp(`handle @${site} \\{\\n\\s*reverse_proxy (\\S+)`).exec(caddyfile)?.[1]
}

export const createPreviewEdges = (deps: {
  readonly diskOf: (server: MachineServer) => PreviewsDisk | undefined
  readonly servers: () => readonly MachineServer[]
}): PreviewEdges => {
  const answer = (server: MachineServer, host: string): Response => {
    const way = wayIn(deps.diskOf(server)?.loaded?.caddyfile ?? '', host)
    if (way === undefined) return new Response('There is no such preview.', { status: 404 })
    const [address = ''] = way.split(':')
    const number = /^pr-(\d+)\./.exec(host)?.[1] ?? ''
    const owner = address.startsWith('pr-') ? server : deps.servers().find(each => each.privateIps?.includes(address))
    const preview = owner && owner.status === 'running' ? deps.diskOf(owner)?.previews[number] : undefined
    if (preview?.state !== 'up' || (preview.published !== undefined && preview.published !== way))
      return new Response('Bad Gateway', { status: 502 })
    const headers = { 'content-type': 'text/plain', 'x-robots-tag': 'noindex, nofollow' }
    return new Response(`preview ${number} at ${preview.head}\n`, { headers })
  }
  return {
    isSet: server => deps.diskOf(server)?.loaded !== undefined,
    open(server) {
      const { loaded } = deps.diskOf(server) ?? {}
      if (!loaded) return undefined
      const { certificate, key } = loaded
      const hostOf = (request: Request) => (request.headers.get('host') ?? '').replace(/:\d+$/, '').toLowerCase()
      return Promise.resolve(listenHttp(request => Promise.resolve(answer(server, hostOf(request))), { cert: certificate, key }))
    },
  }
}
