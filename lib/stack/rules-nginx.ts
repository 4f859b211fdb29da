/** Rules about the proxy: what it is turned to, and whether it can be switched. Pure. */

import { didYouMean, listed, quoted } from '../estate/words.ts'
import { type Directive, isIpAddress, parseAddress, walk } from './nginx.ts'
import { type AuditInput, lineIn, type NginxSource, type Rule, rolledServices, upstreamsOf } from './rule.ts'
import { SWITCHING } from './upstream.ts'

const passes = (input: AuditInput) =>
  input.nginx.flatMap(source =>
    [...walk(source.parsed.directives)].flatMap(({ directive, path }) => {
      if (!/^(?:proxy|grpc|uwsgi|fastcgi|scgi)_pass$/.test(directive.name)) return []
      const target = directive.args[0]?.text ?? ''
      const authority = target.replace(/^(?:https?|grpcs?):\/\//, '').replace(/\/.*$/, '')
      return [{ source, directive, path, target, authority }]
    }),
  )

const upstreams = (input: AuditInput) => upstreamsOf(input.nginx, walk)

const serverNames = (server: Directive): readonly string[] =>
  (server.block ?? []).filter(({ name }) => name === 'server_name').flatMap(({ args }) => args.map(({ text }) => text))

const listens = (server: Directive): readonly string[] => {
  const own = (server.block ?? [])
    .filter(({ name }) => name === 'listen')
    .map(({ args }) => /(\d+)$/.exec(args[0]?.text ?? '')?.[1] ?? '80')
  return own.length > 0 ? own : ['80']
}

const at = (source: NginxSource, directive: Directive) => ({ file: source.file, line: directive.line })

export const NGINX_RULES = {
  'nginx-syntax': {
    about: 'nginx can read its files',
    *check(input) {
      for (const source of input.nginx)
        for (const { line, says } of source.parsed.mistakes)
          yield {
            file: source.file,
            line,
            says: `nginx cannot read this file: ${says}.`,
            fix: 'Correct it; nginx -t names the same place.',
          }
    },
  },
  'unknown-upstream-host': {
    about: 'every upstream leads to a service',
    *check(input) {
      const services = Object.keys(input.compose.services)
      for (const { source, name, servers } of upstreams(input))
        for (const server of servers) {
          const address = parseAddress(server.args[0]?.text ?? '')
          if (!address || address.host in input.compose.services || isIpAddress(address.host) || /^localhost$/.test(address.host))
            continue
          const hint = didYouMean(address.host, services)
          // A name with dots is somebody else's host.
          if (hint === '' && address.host.includes('.')) continue
          yield {
            ...at(source, server),
            says: `The upstream ${name} leads to ${quoted(address.host)}, which is no service of ${input.compose.file}${hint || '.'}`,
            fix: 'Write the name of the service; nginx does not start with a name that it cannot resolve.',
          }
        }
    },
  },
  'upstream-address': {
    about: 'an upstream names services, not addresses',
    *check(input) {
      for (const source of input.nginx)
        if (source.text.startsWith(SWITCHING))
          yield {
            level: 'warning',
            file: source.file,
            line: 1,
            says: 'This file holds addresses of containers: a rollout that was cut short has not put the names back yet.',
            fix: 'Run the same deploy again, or a rollback: either puts them back first.',
          }
      for (const { source, name, servers } of upstreams(input))
        for (const server of servers) {
          if (source.text.startsWith(SWITCHING)) continue
          const host = parseAddress(server.args[0]?.text ?? '')?.host ?? ''
          if (!isIpAddress(host) && host !== 'localhost') continue
          const self = /^127\.|^localhost$/.test(host)
          yield {
            ...at(source, server),
            says: self
              ? `The upstream ${name} leads to ${host}, which inside the proxy's container is the proxy itself.`
              : `The upstream ${name} leads to the address ${host}; addresses of containers change with every deploy and reboot.`,
            fix: 'Write the name of the service instead.',
          }
        }
    },
  },
  'direct-pass': {
    about: 'a rolled service is reached through an upstream',
    *check(input) {
      const named = new Set(upstreams(input).map(({ name }) => name))
      const rolled = new Set(rolledServices(input).map(({ name }) => name))
      for (const { source, directive, target, authority } of passes(input)) {
        const host = parseAddress(authority)
        if (!host || named.has(authority) || !rolled.has(host.host)) continue
        const upstream = [`upstream ${host.host} {`, `    server ${host.host}:${host.port};`, '}', '']
        yield {
          ...at(source, directive),
          says: `${directive.name} leads straight to ${quoted(host.host)}; only an upstream can be switched to the new containers.`,
          fix: `Put it into an upstream: upstream ${host.host} { server ${host.host}:${host.port}; } and ${directive.name} http://${host.host}.`,
          edits: [
            ...(named.has(host.host) ? [] : [{ file: source.file, line: 1, remove: 0, insert: upstream }]),
            replaceLine(source, directive, target, target.replace(authority, host.host)),
          ],
        }
      }
    },
  },
  'unknown-pass': {
    about: 'every location leads somewhere',
    *check(input) {
      const names = [...upstreams(input).map(({ name }) => name), ...Object.keys(input.compose.services)]
      for (const { source, directive, authority } of passes(input)) {
        const host = parseAddress(authority)?.host
        if (!host || names.includes(host) || isIpAddress(host)) continue
        const hint = didYouMean(host, names)
        if (hint === '' && host.includes('.')) continue
        yield {
          ...at(source, directive),
          says: `${directive.name} leads to ${quoted(host)}, which is neither an upstream nor a service${hint || '.'}`,
          fix: 'Correct the name, or add the upstream.',
        }
      }
    },
  },
  'self-pass': {
    about: 'no location leads to the proxy itself',
    *check(input) {
      for (const { source, directive, authority } of passes(input)) {
        const host = parseAddress(authority)?.host ?? ''
        if (!/^127\.|^localhost$/.test(host)) continue
        yield {
          ...at(source, directive),
          says: `${directive.name} leads to ${host}, which inside the proxy's container is the proxy itself.`,
          fix: 'Name the upstream of the service instead.',
        }
      }
    },
  },
  'pass-by-variable': {
    about: 'the proxy does not ask DNS for every request',
    *check(input) {
      for (const { source, directive, target } of passes(input)) {
        if (!/^(?:https?:\/\/)?\$/.test(target)) continue
        yield {
          ...at(source, directive),
          says: `${directive.name} leads to a variable, so nginx asks Docker's DNS, which names a container from its start, healthy or not.`,
          fix: 'Name an upstream instead.',
        }
      }
    },
  },
  'same-server': {
    about: 'a name is served once',
    *check(input) {
      const seen = new Map<string, string>()
      for (const source of input.nginx)
        for (const { directive } of walk(source.parsed.directives)) {
          if (directive.name !== 'server' || !directive.block) continue
          for (const name of serverNames(directive))
            for (const port of new Set(listens(directive))) {
              const key = `${name}:${port}`
              const first = seen.get(key)
              if (first === undefined) seen.set(key, `${source.file} line ${directive.line}`)
              else if (name !== '_')
                yield {
                  ...at(source, directive),
                  says: `${name} on port ${port} is served twice (first in ${first}); nginx ignores the second.`,
                  fix: 'Join the two server blocks.',
                }
            }
        }
    },
  },
  'twice-upstream': {
    about: 'an upstream is defined once',
    *check(input) {
      const seen = new Map<string, string>()
      for (const { source, name, directive } of upstreams(input)) {
        const first = seen.get(name)
        if (first === undefined) seen.set(name, `${source.file} line ${directive.line}`)
        else
          yield {
            ...at(source, directive),
            says: `The upstream ${name} is defined twice (first in ${first}); nginx does not start.`,
            fix: 'Remove one of them.',
          }
      }
    },
  },
  'single-file-mount': {
    about: 'the upstreams lie in a mounted folder',
    *check(input) {
      const { service } = input.stack.nginx
      const proxy = input.compose.services[service]
      if (!proxy) return
      const holders = new Set(upstreams(input).map(({ source }) => source.file.split('/').at(-1)))
      for (const mount of proxy.mounts) {
        const name = mount.source.split('/').at(-1) ?? ''
        if (mount.kind !== 'bind' || !/\.(?:conf|inc)$/.test(name) || !(holders.has(name) || holders.size === 0)) continue
        yield {
          file: input.compose.file,
          line: lineIn(input, service, 'volumes', mount.index),
          says: `${quoted(mount.source)} is mounted as a single file: a file that is replaced on the host stays the old one in the container.`,
          fix: 'Mount the folder that it lies in, for example ./nginx:/etc/nginx/conf.d:ro.',
        }
      }
    },
  },
  'no-config-mount': {
    about: 'the proxy’s files can be changed from the host',
    *check(input) {
      const { service } = input.stack.nginx
      const proxy = input.compose.services[service]
      if (!proxy || proxy.mounts.some(mount => mount.kind === 'bind')) return
      yield {
        file: input.compose.file,
        line: lineIn(input, service),
        says: `${service} has no configuration from the host, so it cannot be switched to new containers.`,
        fix: 'Mount the folder with its upstreams: ./nginx:/etc/nginx/conf.d:ro.',
      }
    },
  },
  'no-shared-network': {
    about: 'the proxy reaches what it serves',
    *check(input) {
      const served = new Set(
        upstreams(input).flatMap(({ servers }) => servers.flatMap(each => parseAddress(each.args[0]?.text ?? '')?.host ?? [])),
      )
      const { service } = input.stack.nginx
      const proxy = networksOf(input, service)
      if (!(service in input.compose.services)) return
      for (const { name } of rolledServices(input))
        if (served.has(name) && !networksOf(input, name).some(network => proxy.includes(network)))
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'networks'),
            says: `${name} and the proxy ${service} share no network (${listed(networksOf(input, name))} and ${listed(proxy)}).`,
            fix: `Put ${name} into one of ${listed(proxy)}.`,
          }
    },
  },
} satisfies Record<string, Rule>

function networksOf(input: AuditInput, service: string): readonly string[] {
  const root = input.compose.yaml.value
  const services = typeof root === 'object' && root !== null && 'services' in root ? root.services : undefined
  const raw = typeof services === 'object' && services !== null ? Reflect.get(services, service) : undefined
  const networks = typeof raw === 'object' && raw !== null && 'networks' in raw ? raw.networks : undefined
  if (Array.isArray(networks)) return networks.map(String)
  return typeof networks === 'object' && networks !== null ? Object.keys(networks) : ['default']
}

function replaceLine(source: NginxSource, directive: Directive, from: string, to: string) {
  const line = source.text.slice(0, directive.start).split('\n').length
  const text = source.text.split('\n')[line - 1] ?? ''
  return { file: source.file, line, remove: 1, insert: [text.replace(from, to)] }
}
