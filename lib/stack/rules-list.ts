/** Rules about the service list, and about which file belongs to which environment. Pure. */

import { didYouMean, listed, quoted } from '../estate/words.ts'
import { lineIn, listPlace, type Rule } from './rule.ts'

/** Databases and stores that people put into such a list by what they do, not by their service's name. */
const KINDS: readonly (readonly [RegExp, RegExp])[] = [
  [/database|db|sql/i, /postgres|mysql|mariadb|mongo/i],
  [/cache|queue/i, /redis|valkey|memcached|rabbit/i],
  [/proxy|gateway|ingress|web-?server/i, /nginx|caddy|traefik|haproxy/i],
]

const byKind = (word: string, names: readonly string[]): string | undefined => {
  const kind = KINDS.find(([means]) => means.test(word))?.[1]
  return kind && names.find(name => kind.test(name))
}

export const LIST_RULES = {
  'unknown-service': {
    about: 'every service of the list is in the Compose file',
    *check(input) {
      const names = Object.keys(input.compose.services)
      for (const [index, name] of input.stack.services.entries()) {
        // Compose sees also what "include" brings.
        const asked = input.asked && 'services' in input.asked ? input.asked.services : []
        if (name in input.compose.services || asked.includes(name)) continue
        const near = didYouMean(name, names)
        const kin = near === '' ? byKind(name, names) : undefined
        yield {
          ...listPlace(input, index),
          says: `The service ${quoted(name)} of the deploy list is not in ${input.compose.file}${near || (kin ? `; did you mean "${kin}"?` : '')}`.replace(
            /([^?])$/,
            '$1.',
          ),
          fix:
            kin || near
              ? 'Write the name of the service that is there, or take it out of the list.'
              : 'Take it out of the list, or add the service to the Compose file.',
        }
      }
    },
  },
  'twice-in-list': {
    about: 'no service is in the list twice',
    *check(input) {
      for (const [index, name] of input.stack.services.entries())
        if (input.stack.services.indexOf(name) < index)
          yield {
            ...listPlace(input, index),
            says: `The service ${name} is in the deploy list twice.`,
            fix: 'Keep the first mention.',
          }
    },
  },
  'proxy-missing': {
    about: 'the proxy is in the list',
    *check(input) {
      const { service } = input.stack.nginx
      if (input.stack.services.length === 0 || input.stack.services.includes(service)) return
      yield {
        ...listPlace(input),
        says: `The deploy list lacks the proxy ${service}: without it, requests go on to the old containers' addresses.`,
        fix: `Put ${quoted(service)} at the end of the list.`,
      }
    },
  },
  'proxy-not-last': {
    about: 'the proxy is the last of the list',
    *check(input) {
      const index = input.stack.services.indexOf(input.stack.nginx.service)
      if (index < 0 || index === input.stack.services.length - 1) return
      yield {
        ...listPlace(input, index),
        says: `The proxy ${input.stack.nginx.service} is not the last of the deploy list, so it would be switched before the new containers are there.`,
        fix: 'Move it to the end of the list.',
      }
    },
  },
  'wrong-order': {
    about: 'a service comes after what it depends on',
    *check(input) {
      const { services, nginx } = input.stack
      for (const [index, name] of services.entries()) {
        if (name === nginx.service) continue
        const late = (input.compose.services[name]?.dependsOn ?? []).filter(
          needed => services.indexOf(needed) > index && needed !== nginx.service,
        )
        if (late.length > 0)
          yield {
            ...listPlace(input, index),
            says: `${name} is deployed before ${listed(late)}, which it depends on (line ${lineIn(input, name, 'depends_on')} of ${input.compose.file}).`,
            fix: `Put ${listed(late)} before ${name} in the list.`,
          }
      }
    },
  },
  'stateful-in-list': {
    about: 'nothing that holds state is rolled',
    *check(input) {
      for (const [index, name] of input.stack.services.entries()) {
        const service = input.compose.services[name]
        const looks =
          /(?:^|\/)(?:postgres|postgis|mysql|mariadb|mongo|redis|valkey|rabbitmq|elasticsearch|clickhouse|minio|ollama|n8n)/i.test(
            service?.image ?? '',
          )
        if (!service || !(looks || input.stack.stateful.includes(name))) continue
        yield {
          ...listPlace(input, index),
          says: `${name} holds state, so two of it must not run side by side: it cannot be rolled.`,
          fix: `Take ${quoted(name)} out of the list${input.stack.stateful.includes(name) ? '' : ' and put it under "stateful"'}.`,
        }
      }
    },
  },
  'not-rolled': {
    about: 'what is not rolled is so on purpose',
    *check(input) {
      if (input.stack.source === undefined) return
      const { services, stateful } = input.stack
      for (const name of Object.keys(input.compose.services)) {
        if (services.includes(name) || stateful.includes(name) || name === input.stack.nginx.service) continue
        yield {
          level: 'warning',
          file: input.compose.file,
          line: lineIn(input, name),
          says: `${name} is neither in the deploy list nor under "stateful", so a deploy leaves it as it is.`,
          fix: `Add it to "services" or to "stateful" in ${input.stack.source}.`,
        }
      }
    },
  },
  'unknown-stateful': {
    about: 'every stateful service is in the Compose file',
    *check(input) {
      for (const [index, name] of input.stack.stateful.entries())
        if (!(name in input.compose.services))
          yield {
            file: input.stack.source ?? input.compose.file,
            line: input.stack.lineOf(['stateful', index]),
            says: `The stateful service ${quoted(name)} is not in ${input.compose.file}${didYouMean(name, Object.keys(input.compose.services)) || '.'}`,
            fix: 'Correct the name, or take it out.',
          }
    },
  },
  'wrong-file': {
    about: 'an environment uses its own Compose file',
    *check(input) {
      const others = {
        dev: /(?:^|[.\-_/])(?:prod|production|staging|stage)(?=[.\-_]|$)/i,
        staging: /(?:^|[.\-_/])dev(?:elopment)?(?=[.\-_]|$)/i,
        prod: /(?:^|[.\-_/])dev(?:elopment)?(?=[.\-_]|$)/i,
      }
      for (const environment of input.stack.environments) {
        if (environment.name !== input.environment) continue
        const name = environment.file.split('/').at(-1) ?? ''
        if (others[environment.name].test(name))
          yield {
            file: input.stack.source ?? input.compose.file,
            line: input.stack.lineOf(['environments', environment.name, 'file']),
            says: `The environment ${environment.name} uses ${environment.file}, which is named for another one.`,
            fix: `Name the file that is meant for ${environment.name}.`,
          }
      }
    },
  },
} satisfies Record<string, Rule>
