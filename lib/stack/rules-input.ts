/** Rules about what any service needs: its inputs, its limits, and nothing that gives the host away. Pure. */

import { didYouMean, quoted } from '../estate/words.ts'
import { neededVariables } from './compose-file.ts'
import { addBelowService, lineIn, linesOfKey, type Rule, rolledServices, withEdit } from './rule.ts'

const SECRET_NAME = /(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY)$/i

export const INPUT_RULES = {
  'wrong-health-check': {
    about: 'a health check is one that Compose understands',
    *check(input) {
      for (const { name, healthCheck } of Object.values(input.compose.services))
        if (healthCheck === 'wrong')
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'healthcheck', 'test'),
            says: `The health check of ${name} does not begin with CMD or CMD-SHELL, so it runs something else than is meant, or nothing.`,
            fix: 'Write [CMD, program, argument …], or [CMD-SHELL, "one line of shell"].',
          }
    },
  },
  'open-port': {
    about: 'only the proxy is reachable from outside',
    *check(input) {
      if (input.environment === 'dev') return
      const rolled = new Set(rolledServices(input).map(({ name }) => name))
      for (const { name, hostPorts } of Object.values(input.compose.services)) {
        if (name === input.stack.nginx.service || rolled.has(name)) continue
        const open = hostPorts.find(({ address }) => !/^(?:127\.|localhost|\[?::1)/.test(address))
        if (open)
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'ports', open.index),
            says: `${name} publishes port ${open.port} to everybody; rules of ufw do not apply to published ports.`,
            fix: `Remove it, or bind it to this host: "127.0.0.1:${open.port}:…".`,
          }
      }
    },
  },
  privileged: {
    about: 'no service is privileged',
    *check(input) {
      for (const { name, privileged } of Object.values(input.compose.services))
        if (privileged)
          yield withEdit(
            {
              file: input.compose.file,
              line: lineIn(input, name, 'privileged'),
              says: `${name} is privileged: whoever gets into it has the whole host.`,
              fix: 'Remove privileged and name the one capability or device that it needs (cap_add, devices).',
            },
            linesOfKey(input.compose, name, 'privileged'),
          )
    },
  },
  'docker-socket': {
    about: 'no service has the Docker socket',
    *check(input) {
      for (const { name, mounts } of Object.values(input.compose.services))
        for (const mount of mounts)
          if (/(?:^|\/)docker\.sock$/.test(mount.source))
            yield {
              file: input.compose.file,
              line: lineIn(input, name, 'volumes', mount.index),
              says: `${name} has the Docker socket: whoever gets into it has the whole host${mount.readOnly ? ' (":ro" does not change that)' : ''}.`,
              fix: 'Remove the mount, or put a filtering socket proxy in between.',
            }
    },
  },
  'host-namespace': {
    about: 'no service shares the host’s processes',
    *check(input) {
      for (const { name, hostNamespaces } of Object.values(input.compose.services))
        for (const key of hostNamespaces)
          yield {
            file: input.compose.file,
            line: lineIn(input, name, key),
            says: `${name} shares the host's ${key.replace('_mode', '')} namespace.`,
            fix: `Remove ${key}: host.`,
          }
    },
  },
  'no-restart': {
    about: 'a service comes back after a reboot',
    *check(input) {
      if (input.environment === 'dev') return
      const services = Object.values(input.compose.services)
      const ending = new Set(services.flatMap(({ awaitsEndOf }) => awaitsEndOf))
      for (const { name, restart } of services.filter(each => !ending.has(each.name)))
        if (restart === undefined || restart === 'no' || restart === 'false')
          yield withEdit(
            {
              file: input.compose.file,
              line: lineIn(input, name),
              says: `${name} has no restart policy, so it stays away after a crash or a reboot of the host.`,
              fix: 'Set restart: unless-stopped',
            },
            restart === undefined ? addBelowService(input.compose, name, ['restart: unless-stopped']) : undefined,
          )
    },
  },
  'no-limits': {
    about: 'a service cannot take all memory',
    *check(input) {
      if (input.environment === 'dev') return
      const rolled = new Set(rolledServices(input).map(({ name }) => name))
      for (const { name, hasLimits } of Object.values(input.compose.services))
        if (!hasLimits)
          yield {
            level: 'warning',
            file: input.compose.file,
            line: lineIn(input, name),
            says: `${name} has no memory limit; ${rolled.has(name) ? 'while it is rolled two of it run, and nothing keeps them' : 'nothing keeps it'} from taking the host down.`,
            fix: 'Set deploy.resources.limits.memory.',
          }
    },
  },
  'plain-secret': {
    about: 'no secret stands in the file',
    *check(input) {
      for (const { name, environment } of Object.values(input.compose.services))
        for (const [key, value] of Object.entries(environment))
          if (SECRET_NAME.test(key) && value !== '' && !value.startsWith('$') && !value.startsWith('/run/secrets'))
            yield {
              file: input.compose.file,
              line: lineIn(input, name, 'environment', key),
              says: `${name} has the value of ${key} in the file itself, where everybody who can read the repository reads it.`,
              fix: `Write ${key}: \${${key}:?} and keep the value in the environment's own env file or a Compose secret.`,
            }
    },
  },
  'missing-secret': {
    about: 'every secret is declared and its file is there',
    *check(input) {
      const { secretFiles } = input.compose
      for (const [secret, path] of Object.entries(secretFiles))
        if (!path.includes('$') && !input.exists(path))
          yield {
            file: input.compose.file,
            line: input.compose.yaml.lineOf(['secrets', secret, 'file']),
            says: `The file ${quoted(path)} of the secret ${secret} is not there.`,
            fix: 'Write it on the host (mode 0600), or correct its path.',
          }
    },
  },
  'missing-env-file': {
    about: 'every env file is there',
    *check(input) {
      for (const { name, envFiles } of Object.values(input.compose.services))
        for (const { path, required } of envFiles)
          if (required && !path.includes('$') && !input.exists(path))
            yield {
              file: input.compose.file,
              line: lineIn(input, name, 'env_file'),
              says: `The env file ${quoted(path)} of ${name} is not there.`,
              fix: 'Write it on the host (mode 0600), or correct its path.',
            }
    },
  },
  'undefined-variable': {
    about: 'every variable has a value',
    *check(input) {
      const told = new Set<string>()
      for (const { name, line } of neededVariables(input.compose.text)) {
        if (input.variables.has(name) || told.has(name)) continue
        told.add(name)
        yield {
          file: input.compose.file,
          line,
          says: `The variable ${name} has no value for ${input.environment}: Compose would put nothing in its place${didYouMean(name, input.variables)}`.replace(
            /([^?])$/,
            '$1.',
          ),
          fix: `Set it in the environment's env file, or give it a default: \${${name}:-value}.`,
        }
      }
    },
  },
  'unknown-dependency': {
    about: 'a service depends on services that exist',
    *check(input) {
      const names = Object.keys(input.compose.services)
      for (const { name, dependsOn } of Object.values(input.compose.services))
        for (const needed of dependsOn)
          if (!(needed in input.compose.services))
            yield {
              file: input.compose.file,
              line: lineIn(input, name, 'depends_on'),
              says: `${name} depends on ${quoted(needed)}, which is no service of this file${didYouMean(needed, names) || '.'}`,
              fix: 'Correct the name, or remove it.',
            }
    },
  },
} satisfies Record<string, Rule>
