/** Holds every rule against a stack; what is wrong is said with its place and its cure. Pure. */

import type { Finding } from './finding.ts'
import type { AuditInput, Rule } from './rule.ts'
import { INPUT_RULES } from './rules-input.ts'
import { LIST_RULES } from './rules-list.ts'
import { NGINX_RULES } from './rules-nginx.ts'
import { SERVICE_RULES } from './rules-service.ts'
import { WORKFLOW_RULES } from './rules-workflow.ts'

/** Rules about whether the file can be read at all. The others are held against what can be read. */
const FILE_RULES = {
  'not-yaml': {
    about: 'the Compose file is YAML',
    *check({ compose }) {
      for (const { line, says } of compose.yaml.mistakes)
        yield {
          file: compose.file,
          line,
          says: `Compose cannot read this file: ${says}.`,
          fix: 'Correct it; docker compose config names the same place.',
        }
    },
  },
  'no-services': {
    about: 'the Compose file has services',
    *check({ compose }) {
      if (compose.hasServices || compose.yaml.value === undefined) return
      yield {
        file: compose.file,
        line: 1,
        says: 'This file has no "services", so it is no Compose file.',
        fix: 'Name the right file.',
      }
    },
  },
  'compose-refuses': {
    about: 'Compose itself accepts the file',
    *check({ asked, compose }) {
      if (!asked || !('refused' in asked)) return
      const line = /line (\d+)/.exec(asked.refused)?.[1]
      yield {
        file: compose.file,
        line: Number(line ?? 1),
        says: `Compose refuses this file: ${asked.refused.trim().split('\n').at(-1)?.slice(0, 400) ?? ''}`.replace(
          /([^.])$/,
          '$1.',
        ),
        fix: 'Correct it; see what Compose makes of it with: docker compose config',
      }
    },
  },
} satisfies Record<string, Rule>

export const RULES: Readonly<Record<string, Rule>> = {
  ...FILE_RULES,
  ...LIST_RULES,
  ...SERVICE_RULES,
  ...INPUT_RULES,
  ...NGINX_RULES,
  ...WORKFLOW_RULES,
}

/** A hostile or generated file must not make a report that nobody can read. */
export const MAX_PER_RULE = 50

/** Findings in the order of their places. A rule that finds the same thing very often says so once more and stops. */
export function audit(input: AuditInput): readonly Finding[] {
  const findings = Object.entries(RULES).flatMap(([rule, { check }]) => {
    const found: Finding[] = []
    for (const each of check(input)) {
      if (found.length === MAX_PER_RULE) {
        found.push({ ...each, rule, level: each.level ?? 'error', says: `${each.says} There are more of this kind.` })
        break
      }
      found.push({ ...each, rule, level: each.level ?? 'error' })
    }
    return found
  })
  return findings.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.rule.localeCompare(b.rule))
}

/** The deploy list as it should be: known services once, in an order that fits their dependencies, the proxy last. */
export function correctedServices({ stack, compose }: Pick<AuditInput, 'stack' | 'compose'>): readonly string[] {
  const { service } = stack.nginx
  const stateful =
    /(?:^|\/)(?:postgres|postgis|mysql|mariadb|mongo|redis|valkey|rabbitmq|elasticsearch|clickhouse|minio|ollama|n8n)/i
  const known = [...new Set(stack.services)].filter(
    name =>
      name !== service &&
      name in compose.services &&
      !stack.stateful.includes(name) &&
      !stateful.test(compose.services[name]?.image ?? ''),
  )
  const placed: string[] = []
  const place = (name: string, around: readonly string[]) => {
    if (placed.includes(name) || around.includes(name)) return
    for (const needed of compose.services[name]?.dependsOn ?? []) if (known.includes(needed)) place(needed, [...around, name])
    placed.push(name)
  }
  for (const name of known) place(name, [])
  return service in compose.services ? [...placed, service] : placed
}
