/** Verdicts as JUnit XML, which continuous integration systems show beside other tests. One test case a file. */
import { passes, type ValidationRun } from '../checkpoint/validate-all.js'
import type { ValidationReport } from '../checkpoint/validator.js'

/** The XML of a run. */
export function junitXml({ files, unreadable, summary }: ValidationRun): string {
  const cases = [
    ...files.map((report) => testCase(report.path, report.kind ?? 'unknown', outcomeOf(report))),
    ...unreadable.map(({ path, code, message }) =>
      testCase(path, 'unreadable', element('error', { type: code, message }, '')),
    ),
  ]
  const counts = {
    tests: String(summary.total),
    failures: String(files.filter((report) => !passes(report)).length),
    errors: String(summary.unreadable),
  }
  const suite = element('testsuite', { name: 'torchkeep validate', ...counts }, `\n${cases.join('\n')}\n`)
  return `<?xml version="1.0" encoding="UTF-8"?>\n${element('testsuites', counts, `\n${suite}\n`)}\n`
}

const testCase = (name: string, className: string, content: string): string =>
  element('testcase', { name, classname: className }, content)

function outcomeOf(report: ValidationReport): string {
  const lines = (findings: ValidationReport['errors']) => findings.map(({ id, message }) => `${id}: ${message}`)
  const issues = (report.compatibility?.issues ?? []).map((issue) => `incompatible: ${issue}`)
  const bad = [
    ...lines(report.errors),
    ...issues,
    ...(report.valid || report.errors.length > 0 ? [] : lines(report.warnings)),
  ]
  const failure = passes(report)
    ? ''
    : element(
        'failure',
        { type: report.errors[0]?.id ?? report.warnings[0]?.id ?? 'incompatible', message: bad[0] ?? '' },
        escape(bad.join('\n')),
      )
  const warnings =
    report.warnings.length === 0 ? '' : element('system-out', {}, escape(lines(report.warnings).join('\n')))
  return failure + warnings
}

/** `content` is XML already. */
function element(name: string, attributes: Readonly<Record<string, string>>, content: string): string {
  const texts = Object.entries(attributes).map(([key, value]) => ` ${key}="${escape(value).replaceAll('\n', '&#10;')}"`)
  return content === '' ? `<${name}${texts.join('')}/>` : `<${name}${texts.join('')}>${content}</${name}>`
}

/** Characters that XML 1.0 cannot hold at all, not even escaped, and surrogates without a partner, become U+FFFD. */
function escape(text: string): string {
  return text
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
