/** The plainest HTTP in front of a stand-in, for clients that are programs of their own. */
import type { StandIn } from '../../lib/sandbox/kit.ts'

export interface Front {
  readonly url: string
  stop(): Promise<void>
}

/** Serves `standIn` below `base` on a free loopback port. */
export const serveStandIn = (standIn: StandIn, base: string): Front => {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: async request => {
      const url = new URL(request.url)
      if (!url.pathname.startsWith(`${base}/`)) return new Response('not found', { status: 404 })
      const { status, headers, json, text } = await standIn.handle({
        method: request.method,
        path: url.pathname.slice(base.length),
        query: url.searchParams,
        headers: request.headers,
        bodyText: await request.text(),
        atMs: Date.now(),
      })
      const init = { status, headers: { ...headers } }
      return json === undefined ? new Response(text ?? null, init) : Response.json(json, init)
    },
  })
  return { url: `http://127.0.0.1:${server.port}${base}`, stop: () => server.stop(true) }
}
