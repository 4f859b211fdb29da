/** Caddy's part of a cluster's machine: it ends TLS, finds the apps in Consul, and says whether visitors shall come. Pure. */

import { basename, dirname } from 'node:path'
import type { AppSpec } from '../estate/apps.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import { Secret } from '../secret.ts'
import type { Files } from './render.ts'
import { unitOf } from './unit.ts'

/** Answered by each Caddy itself: what a load balancer asks. */
export const CADDY_HEALTH_PATH = '/.landfall/health'
/** While it exists on a machine, the answer is 503; the programs for machines know it by this name too. */
const LEAVING_FILE = '/run/landfall/leaving'

const ROUTE = (app: AppSpec): readonly string[] => [
  '\treverse_proxy {',
  '\t\tdynamic srv {',
  `\t\t\tname ${app.name}.service.consul`,
  '\t\t\trefresh 1s',
  '\t\t\tresolvers 127.0.0.1:8600',
  '\t\t}',
  // A dead instance is one failed dial; the request goes to the next, and for a while none goes to the dead one.
  '\t\tlb_try_duration 10s',
  '\t\tlb_try_interval 50ms',
  '\t\tfail_duration 10s',
  '\t\ttransport http {',
  // The addresses that an SRV answer names are Consul's own, unknown to the system's resolver.
  '\t\t\tresolvers 127.0.0.1:8600',
  '\t\t\tdial_timeout 1s',
  // A connection kept open to a machine that lost its power would hold the next request until it times out.
  '\t\t\tkeepalive off',
  '\t\t}',
  '\t}',
]

const NOT_HERE = 'respond "There is no such site here." 404'

/** The longest path first, in the order in which Caddy asks them; what lies below none of them is the app's that has no path, or nobody's. */
const routesOf = (routes: readonly { readonly path: string; readonly app: AppSpec }[]): readonly string[] => {
  const below = routes.filter(({ path }) => path !== '').sort((a, b) => b.path.length - a.path.length)
  const root = routes.find(({ path }) => path === '')
  return [
    ...below.flatMap(({ path, app }, index) => [
      `\t@path${index} path ${path} ${path}/*`,
      `\thandle @path${index} {`,
      ...ROUTE(app).map(line => `\t${line}`),
      '\t}',
    ]),
    ...(root ? ROUTE(root.app) : [`\t${NOT_HERE}`]),
  ]
}

const TLS = '/etc/caddy/tls'

export function caddyFiles(cluster: ClusterSpec, email: string | undefined): Files {
  const sites = cluster.apps.flatMap(app =>
    app.domains.flatMap(domain => {
      const scheme = domain.https ? '' : 'http://'
      const shared = cluster.certificateNames.includes(domain.host) ? [`\ttls ${TLS}/cert.pem ${TLS}/key.pem`] : []
      return [{ site: `${scheme}${domain.host}`, path: domain.path.replace(/\/$/, ''), app, shared }]
    }),
  )
  const bySite = Map.groupBy(sites, each => each.site)
  const config = [
    '{',
    '\tadmin 127.0.0.1:2019',
    // Requests that are under way when the configuration changes get this long.
    '\tgrace_period 20s',
    // Else Caddy counts no requests.
    ...(cluster.monitoring ? ['\tservers {', '\t\tmetrics', '\t}'] : []),
    ...(email === undefined ? [] : [`\temail ${email}`]),
    '}',
    '',
    'http:// {',
    '\t@leaving {',
    `\t\tpath ${CADDY_HEALTH_PATH}`,
    '\t\tfile {',
    `\t\t\troot ${dirname(LEAVING_FILE)}`,
    `\t\t\ttry_files /${basename(LEAVING_FILE)}`,
    '\t\t}',
    '\t}',
    '\troute {',
    '\t\trespond @leaving 503',
    `\t\trespond ${CADDY_HEALTH_PATH} 200`,
    `\t\t${NOT_HERE}`,
    '\t}',
    '}',
    ...[...bySite].flatMap(([site, routes]) => [
      '',
      `${site} {`,
      ...(routes[0]?.shared ?? []),
      ...routesOf(routes),
      '}',
      // Caddy's own redirect would come after the answer of those that ask for no site.
      ...(site.startsWith('http://') || bySite.has(`http://${site}`)
        ? []
        : ['', `http://${site} {`, '\tredir https://{host}{uri} 308', '}']),
    ]),
    '',
  ].join('\n')
  return {
    config: new Secret('Caddyfile', config, 'unlisted'),
    unit: unitOf({
      about: 'Caddy',
      exec: '/usr/local/bin/caddy run --environ --config /etc/caddy/Caddyfile --adapter caddyfile',
      type: 'notify',
      after: 'network-online.target consul.service',
      user: 'caddy',
      more: [
        'ExecReload=/usr/local/bin/caddy reload --config /etc/caddy/Caddyfile --adapter caddyfile --force',
        'AmbientCapabilities=CAP_NET_BIND_SERVICE',
        'Environment=XDG_DATA_HOME=/var/lib XDG_CONFIG_HOME=/var/lib/caddy',
        'TimeoutStopSec=25s',
      ],
    }),
  }
}
