/** Rules about the CI workflow that deploys the stack. Pure. */

import { listed, quoted } from '../estate/words.ts'
import type { Rule } from './rule.ts'

const lineOf = (text: string, index: number): number => text.slice(0, index).split('\n').length

/** `SERVICES="api,web"` in a workflow: the words and their place. */
export function workflowServices(
  text: string,
): readonly { readonly services: readonly string[]; readonly line: number; readonly raw: string }[] {
  return [...text.matchAll(/^[^\n#]*\bSERVICES\s*[:=]\s*["']?([A-Za-z0-9_.-]+(?:[ ,]+[A-Za-z0-9_.-]+)*)["']?/gm)].map(match => ({
    services: (match[1] ?? '').split(/[ ,]+/),
    line: lineOf(text, match.index + match[0].length),
    raw: match[1] ?? '',
  }))
}

/** Commands that break what the rollout does, with what happens and what to write instead. */
const RECIPES = [
  [/docker[ -]compose\b[^\n]*\bdown\b/, 'takes the whole stack down', 'Go back with: bun scripts/stack.ts rollback'],
  [
    /docker[ -]compose\b[^\n]*--force-recreate/,
    'stops the old container before the new one is there',
    'Deploy with: bun scripts/stack.ts deploy',
  ],
  [
    /docker[ -]compose\b[^\n]*--scale/,
    'recreates the old container too, or keeps the old version without a word',
    'Deploy with: bun scripts/stack.ts deploy',
  ],
  [
    /docker (?:inspect|exec|logs|restart|stop)\b[^\n]*\b[\w-]+-\$\{?\w*service/i,
    'looks for containers by a fixed name, which a rolled service cannot have',
    'Ask by service: docker compose ps SERVICE',
  ],
  [
    /docker (?:image|system) prune\b[^\n]*(?:-a|--all)/,
    'removes the images that a rollback needs',
    'Clean up with: bun scripts/stack.ts prune',
  ],
] as const

export const WORKFLOW_RULES = {
  'workflow-services': {
    about: 'the workflow deploys what the list says',
    *check({ workflow, stack, compose }) {
      if (!workflow) return
      for (const { services, line, raw } of workflowServices(workflow.text)) {
        const unknown = services.filter(name => !(name in compose.services))
        const differs = services.join() !== stack.services.join()
        if (!differs) continue
        const why = [
          ...(unknown.length > 0 ? [`${listed(unknown)} ${unknown.length === 1 ? 'is' : 'are'} not in ${compose.file}`] : []),
          ...(services.includes(stack.nginx.service) ? [] : [`the proxy ${stack.nginx.service} is missing`]),
        ]
        const source = workflow.text.split('\n')[line - 1] ?? ''
        yield {
          file: workflow.file,
          line,
          says: `The workflow deploys ${quoted(raw)} instead of ${quoted(stack.services.join(','))}${why.length > 0 ? `: ${listed(why)}` : ''}.`,
          fix: `Write SERVICES="${stack.services.join(',')}".`,
          edits: [{ file: workflow.file, line, remove: 1, insert: [source.replace(raw, stack.services.join(','))] }],
        }
      }
    },
  },
  'workflow-file': {
    about: 'the workflow uses the Compose files of the environments',
    *check({ workflow, stack }) {
      if (!workflow) return
      const known = new Set(stack.environments.map(({ file }) => file.split('/').at(-1)))
      for (const match of workflow.text.matchAll(/docker[ -]compose\b([^\n]*)/g)) {
        const line = lineOf(workflow.text, match.index)
        const files = [...(match[1] ?? '').matchAll(/(?:^|\s)(?:-f|--file)[ =]([^\s"']+)/g)].map(each => each[1] ?? '')
        if (/^\s*(?:version|plugin)/.test(match[1] ?? '') || match[0].trim() === 'docker compose') continue
        if (files.length === 0 && !known.has('docker-compose.yml') && !known.has('compose.yml') && !known.has('compose.yaml')) {
          yield {
            file: workflow.file,
            line,
            says: 'docker compose is called without -f, so it takes docker-compose.yml, which is the file of no environment.',
            fix: `Name the file: ${listed(stack.environments.map(({ name, file }) => `${file} for ${name}`))}.`,
          }
        }
        for (const file of files)
          if (!known.has(file.split('/').at(-1)) && !file.includes('$'))
            yield {
              file: workflow.file,
              line,
              says: `The workflow uses ${quoted(file)}, which is the file of no environment.`,
              fix: `Use ${listed(stack.environments.map(each => `${each.file} for ${each.name}`))}.`,
            }
      }
    },
  },
  'workflow-recipe': {
    about: 'the workflow does nothing that interrupts',
    *check({ workflow }) {
      if (!workflow) return
      for (const [pattern, does, fix] of RECIPES)
        for (const match of workflow.text.matchAll(new RegExp(pattern.source, `${pattern.flags.replace('g', '')}g`)))
          yield {
            file: workflow.file,
            line: lineOf(workflow.text, match.index),
            says: `This command ${does}: ${quoted(match[0].trim())}.`,
            fix: `${fix}.`,
          }
    },
  },
  'workflow-secrets': {
    about: 'the workflow hands the host’s secrets on',
    *check({ workflow, stack }) {
      if (!workflow) return
      for (const { name, on } of stack.environments) {
        if (on !== 'ssh') continue
        const wanted = ['HOST', 'USER', 'SSH_KEY'].map(part => `${name.toUpperCase()}_DEPLOY_${part}`)
        const missing = wanted.filter(secret => !workflow.text.includes(secret))
        if (missing.length > 0)
          yield {
            file: workflow.file,
            line: 1,
            says: `The workflow never mentions ${listed(missing)}, without which ${name} cannot be deployed.`,
            fix: `Hand ${missing.length === 1 ? 'it' : 'them'} on: env: { ${missing.map(secret => `${secret}: \${{ secrets.${secret} }}`).join(', ')} }.`,
          }
      }
    },
  },
} satisfies Record<string, Rule>
