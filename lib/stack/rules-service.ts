/** Rules about what keeps two containers of a service from running side by side. Pure. */

import { listed, quoted } from '../estate/words.ts'
import { addBelowService, lineIn, linesOfKey, type Rule, rolledServices, withEdit } from './rule.ts'

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
