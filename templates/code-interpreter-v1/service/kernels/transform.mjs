// From a cell's code to a script: top-level await, variables that later cells see and may declare again, and the value
// of the last expression.
import { createRequire } from 'node:module'

// Debian's Node is built with it, so it is always there.
const acorn = createRequire('/usr/share/nodejs/')('acorn')

const options = {
  ecmaVersion: 'latest', sourceType: 'module', allowAwaitOutsideFunction: true, allowHashBang: true,
  allowImportExportEverywhere: false,
}

// Modules are strict, which older code may not be; such code is tried as a script.
function parse(code) {
  try {
    return acorn.parse(code, options)
  } catch (error) {
    try {
      return acorn.parse(code, { ...options, sourceType: 'script' })
    } catch {
      throw error
    }
  }
}

function patternNames(pattern, into) {
  switch (pattern?.type) {
    case 'Identifier': into.push(pattern.name); break
    case 'ObjectPattern': pattern.properties.forEach((p) => patternNames(p.value ?? p.argument, into)); break
    case 'ArrayPattern': pattern.elements.forEach((e) => patternNames(e, into)); break
    case 'AssignmentPattern': patternNames(pattern.left, into); break
    case 'RestElement': patternNames(pattern.argument, into); break
  }
}

// `let a = 1, {b} = c` as assignments.
function declarations(node, text, names) {
  const parts = node.declarations.map(({ id, init }) => {
    patternNames(id, names)
    return `(${text(id)} = ${init ? `(${text(init)})` : 'undefined'})`
  })
  return `void (${parts.join(', ')});`
}

function importStatement(node, text, names) {
  const module = `await import(${node.source.raw})`
  if (node.specifiers.length === 0) return `${module};`
  const parts = node.specifiers.map((specifier) => {
    const name = specifier.local.name
    names.push(name)
    if (specifier.type === 'ImportNamespaceSpecifier') return `${name} = m;`
    const imported = specifier.type === 'ImportDefaultSpecifier' ? 'default' : specifier.imported.name ?? specifier.imported.value
    return `${name} = m[${JSON.stringify(imported)}];`
  })
  return `{ const m = ${module}; ${parts.join(' ')} }`
}

function statement(node, last, text, out) {
  switch (node.type) {
    case 'VariableDeclaration': return declarations(node, text, out.names)
    case 'ImportDeclaration': return importStatement(node, text, out.names)
    case 'ExportNamedDeclaration': return node.declaration ? statement(node.declaration, false, text, out) : ''
    case 'ExportDefaultDeclaration': return `void (${text(node.declaration)});`
    case 'ClassDeclaration':
      out.names.push(node.id.name)
      return `${node.id.name} = ${text(node)};`
    case 'FunctionDeclaration':
      out.names.push(node.id.name)
      // A function may be called above where it stands.
      out.hoisted.push(`globalThis.${node.id.name} = ${node.id.name};`)
      return text(node)
    case 'ExpressionStatement':
      if (last) return `return globalThis[Symbol.for('atoll.box')]((${text(node.expression)}\n));`
      return text(node) + ';'
    default: return text(node)
  }
}

// {source, names}: a script whose value is a promise of the boxed last value; `names` must exist as global variables.
export function transform(code, file) {
  let program
  try {
    program = parse(code)
  } catch (error) {
    const wrong = new SyntaxError(error.message.replace(/ \(\d+:\d+\)$/, ''))
    const line = code.split('\n')[error.loc.line - 1]
    wrong.stack = `${file}:${error.loc.line}\n${line}\n${' '.repeat(error.loc.column)}^\n\nSyntaxError: ${wrong.message}`
    throw wrong
  }
  const text = (node) => code.slice(node.start, node.end)
  const out = { names: [], hoisted: [] }
  let body = ''
  let at = 0
  program.body.forEach((node, i) => {
    // What lies between keeps the lines' numbers in errors.
    body += code.slice(at, node.start).replace(/[^\s]/g, ' ')
    body += statement(node, i === program.body.length - 1, text, out)
    at = node.end
  })
  const source = `(async () => { ${out.hoisted.join(' ')} ${body}\n})()`
  return { source, names: [...new Set(out.names)] }
}
