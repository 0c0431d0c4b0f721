import runpy

runpy.run_module("dataprep", run_name=__name__)
