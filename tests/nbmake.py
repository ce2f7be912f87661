"""Makes small notebooks for the tests of what checks notebooks."""

from nbformat import v4

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


def code(source, *outputs, tags=()):
    return v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def text(source):
    return v4.new_markdown_cell(source)


def printed(content, name="stdout"):
    return v4.new_output("stream", name=name, text=content)


def result(content):
    return v4.new_output("execute_result", data={"text/plain": content})


def figure(alt, plain=None):
    data = {"image/png": "iVBORw0KGgo=", "text/plain": alt if plain is None else plain}
    return v4.new_output("display_data", data=data, metadata={"image/png": {"alt": alt}})


def error(name, value):
    return v4.new_output("error", ename=name, evalue=value, traceback=[f"{name}: {value}"])


def notebook(*cells, kernel="python3"):
    """A notebook as if it had been run from top to bottom."""
    made = v4.new_notebook(cells=list(cells), metadata={"kernelspec": KERNEL | {"name": kernel}})
    count = 0
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
    return made
