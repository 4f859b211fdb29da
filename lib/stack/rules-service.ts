/** Rules about each service of the Compose file. Pure. */

import { didYouMean, listed, quoted } from '../estate/words.ts'
import { neededVariables } from './compose-file.ts'
import { addBelowService, type Found, lineIn, linesOfKey, type Rule, rolledServices } from './rule.ts'

const withEdit = (found: Found, ...edits: (NonNullable<Found['edits']>[number] | undefined)[]): Found => {
  const known = edits.flatMap(edit => edit ?? [])
  return known.length > 0 ? { ...found, edits: known } : found
}

const SECRET_NAME = /(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY)$/i

export const SERVICE_RULES = {
  'no-health-check': {
    about: 'a rolled service has a health check',
    *check(input) {
      for (const { name, healthCheck } of rolledServices(input)) {
        if (healthCheck !== 'none' && healthCheck !== 'disabled') continue
        const off = healthCheck === 'disabled'
        yield withEdit(
          {
            file: input.compose.file,
            line: lineIn(input, name, ...(off ? ['healthcheck'] : [])),
            says: `${name} ${off ? 'has its health check switched off' : 'has no health check'}, so nobody can tell when a new container may take requests.`,
            fix: 'Add one that asks the service itself, with a command that is in its image, for example [CMD, wget, -qO-, "http://127.0.0.1:PORT/health"].',
          },
          ...(off
            ? []
            : [
                addBelowService(input.compose, name, [
                  'healthcheck:',
                  "  test: [CMD-SHELL, 'wget -qO- http://127.0.0.1:PORT/health || exit 1'] # PORT: where the service listens",
                  '  interval: 2s',
                  '  timeout: 3s',
                  '  start_period: 30s',
                ]),
              ]),
        )
      }
    },
  },
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
  'container-name': {
    about: 'a rolled service has no fixed container name',
    *check(input) {
      for (const { name, containerName } of rolledServices(input))
        if (containerName !== undefined)
          yield withEdit(
            {
              file: input.compose.file,
              line: lineIn(input, name, 'container_name'),
              says: `${name} has the fixed container_name ${quoted(containerName)}, so no second container of it can start.`,
              fix: `Remove container_name; find containers by service: docker compose ps ${name}`,
            },
            linesOfKey(input.compose, name, 'container_name'),
          )
    },
  },
  'host-port': {
    about: 'a rolled service publishes no port of the host',
    *check(input) {
      for (const { name, hostPorts } of rolledServices(input)) {
        const [first] = hostPorts
        if (!first) continue
        yield withEdit(
          {
            file: input.compose.file,
            line: lineIn(input, name, 'ports', first.index),
            says: `${name} publishes port ${listed(hostPorts.map(({ port }) => port))} of the host, which only one container can have.`,
            fix: 'Remove ports; the proxy reaches it through their common network.',
          },
          linesOfKey(input.compose, name, 'ports'),
        )
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
  'host-network': {
    about: 'a rolled service has a network of its own',
    *check(input) {
      for (const { name, networkMode } of rolledServices(input))
        if (networkMode !== undefined)
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'network_mode'),
            says: `${name} uses network_mode ${quoted(networkMode)}, so two containers of it would fight for the same ports.`,
            fix: 'Remove network_mode and put it into a network with the proxy.',
          }
    },
  },
  'fixed-address': {
    about: 'a rolled service has no fixed address',
    *check(input) {
      for (const { name, hasFixedAddress } of rolledServices(input))
        if (hasFixedAddress)
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'networks'),
            says: `${name} has a fixed address in a network, which only one container can have.`,
            fix: 'Remove ipv4_address and ipv6_address; others find it by its name.',
          }
    },
  },
  'own-volume': {
    about: 'a rolled service writes to no volume of its own',
    *check(input) {
      for (const { name, mounts } of rolledServices(input))
        for (const mount of mounts) {
          if (mount.readOnly || mount.kind === 'other' || mount.source.endsWith('/docker.sock')) continue
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'volumes', mount.index),
            says: `${name} writes to ${mount.kind === 'anonymous' ? 'an anonymous volume' : quoted(mount.source)} at ${quoted(mount.target)}; while it is rolled, two containers would write there at once.`,
            fix: 'Mount it read-only (":ro"), keep the data in a service that is not rolled, or put the service under "stateful".',
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
  'moving-tag': {
    about: 'an image has a tag that stays what it is',
    *check(input) {
      for (const { name, image, hasBuild } of rolledServices(input)) {
        if (image === undefined) {
          if (!hasBuild)
            yield {
              file: input.compose.file,
              line: lineIn(input, name),
              says: `${name} has neither an image nor a build.`,
              fix: 'Name its image.',
            }
          continue
        }
        const plain = image.replace(/\$\{[^}]*\}/g, 'x')
        if (/@sha256:/.test(plain) || (/:[^/]+$/.test(plain) && !/:(?:latest|stable|main|master|edge)$/.test(plain))) continue
        yield {
          file: input.compose.file,
          line: lineIn(input, name, 'image'),
          says: `${name} uses ${quoted(image)}, a tag that means something else tomorrow: nobody can say what runs, or go back to it.`,
          fix: `Give each build its own tag, for example the commit: image: registry.example.com/${name}:\${TAG}.`,
        }
      }
    },
  },
  'short-grace': {
    about: 'a rolled service may finish what it does',
    *check(input) {
      for (const { name, stopGraceS } of rolledServices(input))
        if (stopGraceS < input.stack.drainS)
          yield withEdit(
            {
              file: input.compose.file,
              line: lineIn(input, name, 'stop_grace_period'),
              says: `${name} is killed ${stopGraceS} s after it was asked to stop, but requests may last ${input.stack.drainS} s.`,
              fix: `Set stop_grace_period: ${input.stack.drainS}s`,
            },
            linesOfKey(input.compose, name, 'stop_grace_period'),
            addBelowService(input.compose, name, [`stop_grace_period: ${input.stack.drainS}s`]),
          )
    },
  },
  'no-restart': {
    about: 'a service comes back after a reboot',
    *check(input) {
      if (input.environment === 'dev') return
      for (const { name, restart } of Object.values(input.compose.services))
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
      for (const { name, hasLimits } of Object.values(input.compose.services))
        if (!hasLimits)
          yield {
            level: 'warning',
            file: input.compose.file,
            line: lineIn(input, name),
            says: `${name} has no memory limit; while it is rolled two of it run, and nothing keeps them from taking the host down.`,
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
  'inactive-profile': {
    about: 'a rolled service is always there',
    *check(input) {
      for (const { name, profiles } of rolledServices(input))
        if (profiles.length > 0)
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'profiles'),
            says: `${name} belongs to the profile ${listed(profiles)}, so Compose leaves it out unless that is asked for.`,
            fix: 'Remove profiles from a service that is deployed.',
          }
    },
  },
  'global-mode': {
    about: 'a rolled service has a number of containers',
    *check(input) {
      for (const { name, deployMode } of rolledServices(input))
        if (deployMode !== undefined && deployMode !== 'replicated')
          yield {
            file: input.compose.file,
            line: lineIn(input, name, 'deploy', 'mode'),
            says: `${name} has deploy.mode ${quoted(deployMode)}, so it cannot run twice on one host.`,
            fix: 'Remove deploy.mode.',
          }
    },
  },
} satisfies Record<string, Rule>
